"""What a shard's portfolios show to the world: the owner's documents and the mirror, beside the books."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from actors.rendering import Encoded
from cluster.verifying.comparing import json_differences
from cluster.verifying.documents import BookDocuments, Documents, GivenDocuments, JournalDocuments, OwnerDocuments
from cluster.verifying.findings import Findings, Kind, difference
from cluster.verifying.memory import LaterEntries
from cluster.verifying.mirror import PORTFOLIOS_AT_ONCE, MirrorComparison
from cluster.verifying.report import Counts
from cluster.verifying.sources import Sources
from portfolio.book import Book, Mark
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import MarkStore

_EVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """Compares documents. Deep: those that owners give out, to the last byte, with the mirror's and with their books'."""

    sources: Sources
    journal: LaterEntries
    marks: MarkStore
    findings: Findings
    counts: Counts
    deep: bool

    async def compare(self, shard_id: ShardId, books: Mapping[PortfolioId, Book]) -> None:
        """Compare all of a shard's portfolios. Raises ShardUnavailable or MirrorUnavailable."""
        owners, mirror = self.sources.owners, self.sources.mirror
        by_book = BookDocuments(books, await self._market())
        now: Documents = OwnerDocuments(owners) if owners else JournalDocuments(books, self.journal, self._market)
        comparison = (
            MirrorComparison(shard_id, self.findings, mirror, now=now, settle_s=self.sources.settle_s)
            if mirror is not None
            else None
        )
        for names in _some(sorted(books)):
            expected: Documents = by_book
            if self.deep and owners is not None:
                given = await now.of(names)
                self._compare_documents(shard_id, await by_book.of(names), given)
                expected = GivenDocuments(given)
            if comparison is not None:
                await comparison.take(names, expected)
        if comparison is not None:
            await comparison.finish()
            self.counts.mirror += comparison.counts.compared
            self.counts.mirror_expired += comparison.counts.absent

    async def _market(self) -> dict[InstrumentId, Mark]:
        return {found.instrument_id: found.mark for found in await self.marks.since(_EVER)}

    def _compare_documents(
        self, shard_id: ShardId, expected: Mapping[PortfolioId, Encoded], given: Mapping[PortfolioId, Encoded]
    ) -> None:
        """What the owner gives out must be its book's documents; a portfolio that has gone on since is left out."""
        for name, found in given.items():
            documents = expected[name]
            if found.etag != documents.etag:
                continue
            self.counts.documents += 1
            if found.state != documents.state:
                for field, value, there in json_differences("state", documents.state, found.state):
                    self.findings.add(
                        difference(Kind.DOCUMENT_DIFFERS, field, (value, there), shard_id=shard_id, portfolio_id=name)
                    )


def _some(names: Sequence[PortfolioId]) -> Iterator[Sequence[PortfolioId]]:
    for start in range(0, len(names), PORTFOLIOS_AT_ONCE):
        yield names[start : start + PORTFOLIOS_AT_ONCE]
