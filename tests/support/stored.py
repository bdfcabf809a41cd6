"""A stored cluster for tests: journals, checkpoints and a mirror, written without any shard running."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from zlib import crc32

from psycopg_pool import AsyncConnectionPool

from actors.protocol import Answer
from actors.rendering import encode
from persistence.checkpoint import PostgresCheckpointStore
from persistence.journal import PostgresJournal
from persistence.redis_mirror import RedisMirror
from portfolio.book import Book
from portfolio.commands import Command
from portfolio.errors import ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Checkpoint, PendingRow, Picture, ValuedBook
from portfolio.valuation import value
from tests.oracles.rows import Scribe


@dataclass(slots=True)
class StoredCluster:
    """Commands go to the journal of the shard that their portfolio belongs to; `moduli` says how ids are spread."""

    dsn: str
    pool: AsyncConnectionPool[Any]
    moduli: dict[int, int]
    scribe: Scribe = field(default_factory=Scribe)
    journals: dict[int, PostgresJournal] = field(default_factory=dict)

    def shard_of(self, portfolio_id: PortfolioId) -> int:
        """The shard that a portfolio belongs to."""
        checksum = crc32(portfolio_id.encode())
        return next(shard for shard, modulus in self.moduli.items() if checksum % modulus == shard)

    def portfolios(self, shard: int) -> list[PortfolioId]:
        """The portfolios of a shard, in order."""
        return [name for name in sorted(self.scribe.books) if self.shard_of(name) == shard]

    async def journal(self, shard: int) -> PostgresJournal:
        """The journal of a shard, claimed once."""
        if shard not in self.journals:
            self.journals[shard] = PostgresJournal(self.dsn, ShardId(shard), f"stored/{shard}", self.pool)
            await self.journals[shard].claim()
        return self.journals[shard]

    async def book(self, *commands: Command, shard: int | None = None) -> None:
        """Append what commands decide, one append a shard; to a shard where they do not belong, if one is named."""
        rows: dict[int, list[PendingRow]] = defaultdict(list)
        for command in commands:
            rows[self.shard_of(command.portfolio_id) if shard is None else shard] += self.scribe.rows(command)
        for number, pending in rows.items():
            await (await self.journal(number)).append(pending)

    async def save(self, shard: int) -> None:
        """Write the checkpoint of a shard as of its head."""
        journal = await self.journal(shard)
        books = [self.scribe.books[name] for name in self.portfolios(shard)]
        valued = [ValuedBook(book, value(book, {})) for book in books]
        store = PostgresCheckpointStore(ShardId(shard), self.pool)
        await store.save(Checkpoint(journal._head.seq, 0, valued, []), journal.epoch)

    async def branch(self, shard: int) -> None:
        """Split a shard in two, the second of which goes on from the first's last row."""
        modulus = self.moduli[shard]
        self.moduli[shard] = self.moduli[shard + modulus] = 2 * modulus
        moved = self.portfolios(shard + modulus)
        async with self.pool.connection() as connection:
            await connection.execute(
                "insert into shards (shard_id, modulus, parent_shard, branch_seq, branch_hash, head_seq, head_hash,"
                " checkpoint_seq, announced_seq) select shard_id + modulus, 2 * modulus, shard_id, head_seq, head_hash,"
                " head_seq, head_hash, checkpoint_seq, announced_seq from shards where shard_id = %s",
                (shard,),
            )
            await connection.execute("update shards set modulus = 2 * modulus where shard_id = %s", (shard,))
            await connection.execute(
                "update portfolios set shard_id = %s where portfolio_id = any(%s)", (shard + modulus, moved)
            )

    async def mirror(self, url: str) -> None:
        """Show every book."""
        # A machine that stands still for a moment is no Redis that is away.
        with patch("persistence.redis_mirror._TIMEOUT_S", 10.0):
            mirror = RedisMirror(url)
            await mirror.show([picture_of(book) for book in self.scribe.books.values()])
            await mirror.close()

    async def close(self) -> None:
        """Let go of the journals' connections."""
        for journal in self.journals.values():
            await journal.close()


def picture_of(book: Book) -> Picture:
    """A book as the mirror shows it, at trade prices."""
    documents = encode(book, {})
    return Picture(
        book.portfolio_id,
        documents.version,
        documents.revaluation,
        documents.state,
        documents.positions,
        documents.weights,
    )


@dataclass(slots=True)
class MemoryOwners:
    """The owners of a stored cluster's shards: what they have in memory may be changed. `away` are shards that refuse."""

    cluster: StoredCluster
    books_held: dict[PortfolioId, Book]
    away: set[int] = field(default_factory=set)
    pages: int = 0

    async def books(self, shard_id: ShardId, after: str, limit: int) -> list[Book]:
        """A few books at a time, so that a page is never all there is."""
        self.pages += 1
        self._check(shard_id)
        names = [name for name in sorted(self.books_held) if name > after and self.cluster.shard_of(name) == shard_id]
        return [self.books_held[name] for name in names[: min(limit, 2)]]

    async def book(self, portfolio_id: PortfolioId) -> Book | None:
        """One book."""
        self._check(self.cluster.shard_of(portfolio_id))
        return self.books_held.get(portfolio_id)

    async def state(self, portfolio_id: PortfolioId, if_none_match: str | None = None) -> Answer:
        """One book's state."""
        documents = encode(self.books_held[portfolio_id], {})
        return Answer(documents.state, documents.etag)

    def _check(self, shard: int) -> None:
        if shard in self.away:
            raise ShardUnavailable(f"shard {shard} has stopped")
