"""One verification from beginning to end: shard by shard, in one snapshot of the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from cluster.verifying.checkpoint import CheckpointComparison
from cluster.verifying.findings import Kind, difference
from cluster.verifying.index_checks import IndexChecks
from cluster.verifying.life import Lives
from cluster.verifying.lineage import Lineage
from cluster.verifying.memory import MemoryComparison
from cluster.verifying.report import Report
from cluster.verifying.showing import Showing
from cluster.verifying.sources import Sources
from cluster.verifying.walk import Recomputed, ShardWalk
from persistence import postgres
from persistence.audit import Audit, audit
from persistence.audit_values import ShardRecord
from persistence.history import PostgresHistory
from persistence.mark_store import PostgresMarkStore
from portfolio.book import Book
from portfolio.errors import PortfolioError, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import MirrorUnavailable

Progress = Callable[[int, int], None]
"""Told how many rows were read since the last call, and how many there are in all."""


def _tell_nobody(rows: int, total: int) -> None:
    """The progress of a verification that nobody watches."""


async def verify(sources: Sources, *, deep: bool, progress: Progress = _tell_nobody) -> Report:
    """Compare everything there is. Raises ShardUnavailable if the database cannot be read."""
    began = time.monotonic()
    report = Report(left_out=dict(sources.left_out), is_deep=deep)
    async with postgres.pool(sources.postgres_dsn, size_max=2) as pool, audit(sources.postgres_dsn) as snapshot:
        history = PostgresHistory(pool)
        showing = Showing(
            sources=sources,
            journal=history,
            marks=PostgresMarkStore(pool),
            findings=report.findings,
            counts=report.counts,
            deep=deep,
        )
        await _Verification(snapshot, showing, report, progress).run()
    report.elapsed_s = time.monotonic() - began
    return report


class _Verification:
    def __init__(
        self,
        snapshot: Audit,
        showing: Showing,
        report: Report,
        progress: Progress,
    ) -> None:
        self._snapshot = snapshot
        self._showing = showing
        self._report = report
        self._findings = report.findings
        self._counts = report.counts
        self._progress = progress
        self._portfolios: set[PortfolioId] = set()
        self._quarantined: set[PortfolioId] = set()

    async def run(self) -> None:
        """Fill the report."""
        lineage = Lineage(await self._snapshot.shards())
        if not lineage.shards:
            raise ShardUnavailable("the database holds no cluster yet: `portfolio-state up` sets one up")
        await self._note_quarantined()
        await self._note_strays()
        indexes = IndexChecks(self._snapshot, lineage, self._findings)
        lives = Lives(lineage)
        for record in lineage.in_order():
            walk = ShardWalk(record, lineage, lives, self._findings, deep=self._report.is_deep)
            recomputed = await self._walked(walk, record.shard_id, lineage.row_count)
            self._portfolios.update(recomputed.books, recomputed.unsound)
            indexes.walked(recomputed.histories)
            await self._compare(record, recomputed)
        if self._report.is_deep:
            await indexes.run()
        self._counts.shards = len(lineage.shards)
        self._counts.portfolios = len(self._portfolios | self._findings.portfolios)

    async def _note_quarantined(self) -> None:
        for found in await self._snapshot.quarantined():
            self._quarantined.add(found.portfolio_id)
            self._findings.add(
                difference(Kind.QUARANTINED, found.reason, shard_id=found.shard_id, portfolio_id=found.portfolio_id)
            )

    async def _note_strays(self) -> None:
        for stray in await self._snapshot.strays():
            kind = Kind.JOURNAL_SHARD if stray.table == "journal" else Kind.CHECKPOINT_SURPLUS
            name = f"{stray.count} rows are filed under a shard that there is not"
            self._findings.add(difference(kind, name, shard_id=ShardId(stray.shard_id), portfolio_id=stray.example))

    async def _walked(self, walk: ShardWalk, shard_id: ShardId, total: int) -> Recomputed:
        async for rows in self._snapshot.journal(shard_id):
            walk.take(rows)
            self._counts.rows += len(rows)
            self._progress(len(rows), total)
            # Whoever shares the loop has a turn, and an interrupt is noticed.
            await asyncio.sleep(0)
        return walk.finish()

    async def _compare(self, record: ShardRecord, recomputed: Recomputed) -> None:
        await self._compare_checkpoint(record.shard_id, recomputed)
        try:
            books = await self._compare_memory(record.shard_id, recomputed)
            await self._showing.compare(record.shard_id, books)
        except MirrorUnavailable as error:
            self._report.failed["mirror"] = error.detail
        except PortfolioError as error:
            self._report.failed[f"shard {record.shard_id}"] = error.detail

    async def _compare_checkpoint(self, shard_id: ShardId, recomputed: Recomputed) -> None:
        comparison = CheckpointComparison(
            shard_id, recomputed, self._findings, left_out=self._quarantined, deep=self._report.is_deep
        )
        try:
            async for books in self._snapshot.checkpoint(shard_id):
                comparison.take(books)
        except ValueError as error:
            self._report.failed[f"the checkpoint of shard {shard_id}"] = f"it cannot be read: {error}"
            return
        comparison.finish()
        self._counts.checkpoint += comparison.compared.portfolios
        self._counts.checkpoint_positions += comparison.compared.positions

    async def _compare_memory(self, shard_id: ShardId, recomputed: Recomputed) -> dict[PortfolioId, Book]:
        """The books that the shard shows to the world: the owner's, or where it is not asked, the journal's."""
        sources = self._showing.sources
        if sources.owners is None:
            return {name: book for name, book in recomputed.books.items() if name not in self._quarantined}
        comparison = MemoryComparison(
            shard_id,
            recomputed,
            self._findings,
            memory=sources.owners,
            journal=self._showing.journal,
            left_out=self._quarantined,
            settle_s=sources.settle_s,
        )
        await comparison.run()
        self._counts.memory += comparison.compared.portfolios
        self._counts.memory_positions += comparison.compared.positions
        return comparison.books
