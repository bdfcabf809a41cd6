"""A million journal rows: how long `verify` takes, and how long a shard takes to recover from them.

    python -m benchmarks.verify_million [--rows 1000000] [--portfolios 10000] [--shards 1]

The rows go through the journal's own append into a scratch Postgres. Nothing else should run on the machine; the share of
CPU time that others stole is printed beside each figure.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from actors.settings import Limits
from actors.shard import Shard
from benchmarks.cpu_steal import CpuSteal
from cluster.verifying.sources import Sources
from cluster.verifying.verification import verify
from persistence import postgres
from persistence.checkpoint import PostgresCheckpointStore
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.journal import PostgresJournal
from persistence.mark_store import PostgresMarkStore
from persistence.migrate import migrate, set_up_cluster
from persistence.redis_mirror import RedisMirror
from portfolio.book import Book
from portfolio.commands import Command, OpenPortfolio, UpdatePortfolio, request_hash
from portfolio.decide import decide
from portfolio.ids import IdempotencyKey, InstrumentId, PortfolioId, ShardId
from portfolio.ports import PendingRow
from portfolio.sharding import shard_of
from portfolio.transactions import Transaction, TransactionType

ROWS_PER_APPEND = 5_000
INSTRUMENTS = tuple(InstrumentId(f"STOCK-{number:03}") for number in range(500))
POSITIONS = 20
TRADES_PER_UPDATE = 2


@dataclass(slots=True)
class Life:
    """The commands of one portfolio: an opening, then trades in instruments of its own."""

    portfolio_id: PortfolioId
    number: int
    book: Book | None = None
    updates: int = 0

    def command(self, chance: random.Random) -> Command:
        if self.book is None:
            return OpenPortfolio(
                portfolio_id=self.portfolio_id, portfolio_name=f"Bench {self.number}", cash_balance=Decimal(1_000_000)
            )
        self.updates += 1
        return UpdatePortfolio(
            portfolio_id=self.portfolio_id,
            transactions=tuple(self._trade(chance) for _ in range(TRADES_PER_UPDATE)),
            idempotency_key=IdempotencyKey(f"update-{self.updates}"),
        )

    def _trade(self, chance: random.Random) -> Transaction:
        is_sale = chance.random() < 0.3
        return Transaction(
            transaction_type=TransactionType.SELL if is_sale else TransactionType.BUY,
            instrument_id=INSTRUMENTS[(self.number * 7 + chance.randrange(POSITIONS)) % len(INSTRUMENTS)],
            quantity=Decimal(chance.randrange(1, 800) * (-1 if is_sale else 1)) / 8,
            price=Decimal(chance.randrange(1_000, 30_000)) / 100,
            fee=Decimal("0.35"),
        )


@dataclass(slots=True)
class Loader:
    """Fills the journal of one shard."""

    journal: PostgresJournal
    lives: list[Life]
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def load(self, rows: int) -> None:
        pending: list[PendingRow] = []
        written = 0
        while written < rows:
            for life in self.lives:
                pending += self._rows(life)
                if len(pending) >= ROWS_PER_APPEND:
                    await self.journal.append(pending)
                    written += len(pending)
                    pending = []
                    if written >= rows:
                        return

    def _rows(self, life: Life) -> list[PendingRow]:
        command = life.command(self.chance)
        decision = decide(life.book, command, now=datetime.now(UTC))
        life.book = decision.book
        key = command.idempotency_key
        first, *rest = decision.entries
        content = None if key is None else request_hash(command)
        return [PendingRow(first, key, content), *(PendingRow(entry, key) for entry in rest)]


async def load(dsn: str, rows: int, portfolios: int, shards: int) -> None:
    """Spread `rows` over the shards, in appends of `ROWS_PER_APPEND`."""
    ids = [PortfolioId(f"BENCH-{number:06}") for number in range(portfolios)]
    for shard in range(shards):
        async with journal_of(dsn, ShardId(shard)) as journal:
            lives = [Life(name, number) for number, name in enumerate(ids) if shard_of(name, shards) == shard]
            await journal.claim()
            await Loader(journal, lives).load(rows // shards)


@asynccontextmanager
async def journal_of(dsn: str, shard_id: ShardId) -> AsyncIterator[PostgresJournal]:
    async with postgres.pool(dsn, size_max=2) as pool:
        journal = PostgresJournal(dsn, shard_id, f"benchmark/{time.time_ns()}", pool)
        try:
            yield journal
        finally:
            await journal.close()


@contextmanager
def scratch_postgres() -> Iterator[str]:
    """The address of a migrated database that is removed at the end."""
    data_dir = Path(tempfile.mkdtemp(prefix="portfolio-bench-", dir="/tmp"))
    # Root's Postgres runs under another user, who has to get through.
    data_dir.chmod(0o711)
    try:
        with EmbeddedPostgres(data_dir) as server:
            migrate(server.dsn)
            yield server.dsn
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


async def recovered(dsn: str, shard_id: ShardId, shards: int) -> tuple[float, int]:
    """Seconds that a shard takes to start, and the rows that it replays; it leaves a checkpoint behind."""
    async with postgres.pool(dsn, size_max=3) as pool, journal_of(dsn, shard_id) as journal:
        shard = Shard(
            shard_id=shard_id,
            journal=journal,
            epoch=lambda: journal.epoch,
            checkpoints=PostgresCheckpointStore(shard_id, pool),
            marks=PostgresMarkStore(pool),
            mirror=RedisMirror("redis://127.0.0.1:1/0"),  # Nothing is shown before a shard runs.
            limits=Limits(),
            is_gone=lambda _: True,
        )
        began = time.perf_counter()
        await shard.start()
        took_s = time.perf_counter() - began
        rows = shard.status().tail_rows_recovered
        await shard.stop()
    return took_s, rows


async def measure(dsn: str, rows: int, portfolios: int, shards: int) -> None:
    """Load, recover, verify; a line for each."""
    with figure("load") as tell:
        await load(dsn, rows, portfolios, shards)
        tell(rows)
    for source in ("bare journal", "checkpoint"):
        with figure(f"recovery of shard 0 from the {source}") as tell:
            took_s, replayed = await recovered(dsn, ShardId(0), shards)
            tell(replayed, took_s)
    for deep in (False, True):
        with figure("verify --deep" if deep else "verify") as tell:
            report = await verify(Sources(postgres_dsn=dsn), deep=deep)
            if report.exit_status:
                raise RuntimeError(f"differences: {report.findings.kept[:3]}")
            tell(report.counts.rows)


@contextmanager
def figure(name: str) -> Iterator[Callable[..., None]]:
    """Print how long the block took: seconds, this process's CPU time, rows a second, and what others stole."""
    steal, began, cpu_s = CpuSteal(), time.perf_counter(), time.process_time()

    def tell(rows: int, took_s: float | None = None) -> None:
        seconds = time.perf_counter() - began if took_s is None else took_s
        own_s = time.process_time() - cpu_s
        print(
            f"{name}: {rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s"
            f" (CPU of this process {own_s:.1f} s, steal {steal.share():.0%})",
            flush=True,
        )

    yield tell


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--portfolios", type=int, default=10_000)
    options.add_argument("--shards", type=int, default=1)
    chosen = options.parse_args()
    with scratch_postgres() as dsn:
        set_up_cluster(dsn, chosen.shards)
        asyncio.run(measure(dsn, chosen.rows, chosen.portfolios, chosen.shards))


if __name__ == "__main__":
    main()
