"""A million journal rows: how long `verify` takes, and how long a shard takes to recover from them.

    python -m benchmarks.verify_million [--rows 1000000] [--portfolios 10000] [--shards 2] [--profile-wait 0]

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
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from benchmarks.cpu_steal import CpuSteal
from persistence import postgres
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.journal import PostgresJournal
from persistence.migrate import migrate, set_up_cluster
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


if __name__ == "__main__":
    import sys
    data_dir = Path("/tmp/lab/verify-bench"); data_dir.mkdir(mode=0o711, exist_ok=True)
    with EmbeddedPostgres(data_dir) as server:
        migrate(server.dsn)
        set_up_cluster(server.dsn, 2)
        t=time.perf_counter()
        asyncio.run(load(server.dsn, int(sys.argv[1]), 10_000, 2))
        print(time.perf_counter()-t, server.dsn, flush=True)
        time.sleep(3600*3)
