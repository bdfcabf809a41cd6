"""The checkpoint beside the books that the journal gives as of the same row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.verifying.comparing import book_differences, value_differences
from cluster.verifying.findings import Findings, Kind, Values, difference
from cluster.verifying.walk import Recomputed
from persistence.audit_values import SavedBook
from portfolio.book import Book
from portfolio.ids import PortfolioId, ShardId


@dataclass(slots=True)
class Compared:
    """How much was compared."""

    portfolios: int = 0
    positions: int = 0


class CheckpointComparison:
    """One shard's checkpoint, given book by book. `left_out` are portfolios of which nothing is expected."""

    def __init__(
        self,
        shard_id: ShardId,
        recomputed: Recomputed,
        findings: Findings,
        *,
        left_out: Collection[PortfolioId],
        deep: bool,
    ) -> None:
        self._shard_id = shard_id
        self._recomputed = recomputed
        self._findings = findings
        self._left_out = left_out
        self._deep = deep
        self._seen: set[PortfolioId] = set()
        self.compared = Compared()

    def take(self, books: Sequence[SavedBook]) -> None:
        """Compare the next books."""
        for saved in books:
            portfolio_id = saved.book.portfolio_id
            self._seen.add(portfolio_id)
            if portfolio_id not in self._left_out and portfolio_id not in self._recomputed.unsound:
                self._compare(saved)

    def _compare(self, saved: SavedBook) -> None:
        found = saved.book
        expected = self._recomputed.as_of_checkpoint.get(found.portfolio_id)
        self.compared.portfolios += 1
        self.compared.positions += len(found.positions)
        if expected is None:
            self._find(Kind.CHECKPOINT_SURPLUS, found.portfolio_id, "version", ("no such portfolio", found.version))
        elif found != expected:
            self._find_each(expected, found)
        if self._deep:
            self._check_values(saved)

    def _check_values(self, saved: SavedBook) -> None:
        portfolio_id = saved.book.portfolio_id
        try:
            for field, value, stored in value_differences(saved):
                self._find(Kind.CHECKPOINT_VALUES, portfolio_id, field, (value, stored))
        except ArithmeticError as error:
            self._find(Kind.CHECKPOINT_VALUES, portfolio_id, "values", ("numbers", repr(error)))

    def _find_each(self, expected: Book, found: Book) -> None:
        if found.version < expected.version:
            # All that differs follows from that.
            self._find(Kind.CHECKPOINT_STALE, found.portfolio_id, "version", (expected.version, found.version))
            return
        for field, value, stored in book_differences(expected, found):
            self._find(Kind.CHECKPOINT_DIFFERS, found.portfolio_id, field, (value, stored))

    def finish(self) -> None:
        """Note the portfolios that the checkpoint lacks."""
        for portfolio_id, expected in self._recomputed.as_of_checkpoint.items():
            if expected is not None and portfolio_id not in self._seen and portfolio_id not in self._left_out:
                self._find(Kind.CHECKPOINT_MISSING, portfolio_id, "version", (expected.version, "no such portfolio"))

    def _find(self, kind: Kind, portfolio_id: PortfolioId, field: str, values: Values) -> None:
        self._findings.add(difference(kind, field, values, shard_id=self._shard_id, portfolio_id=portfolio_id))
