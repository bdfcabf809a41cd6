"""The stores that the contracts are held against: the one in memory, and the real ones."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool
from redis import Redis

from persistence import postgres
from persistence.checkpoint import PostgresCheckpointStore
from persistence.journal import PostgresJournal
from persistence.mark_store import PostgresMarkStore
from persistence.migrate import set_up_cluster
from persistence.redis_mirror import STREAM, RedisMirror
from portfolio.entries import Booked
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import CheckpointStore, Journal, MarkStore, Mirror
from tests.oracles.memory_store import (
    MemoryCheckpointStore,
    MemoryDatabase,
    MemoryJournal,
    MemoryMarkStore,
    MemoryMirror,
)

SHARD_COUNT = 2


class Store(Protocol):
    """One database, and as many incarnations of its shards as a test wants."""

    def journal(self, shard_id: int = 0) -> Journal:
        """The journal of a new incarnation."""

    def checkpoints(self, shard_id: int = 0) -> CheckpointStore:
        """The checkpoint of a shard."""

    def marks(self) -> MarkStore:
        """The marks of the cluster."""

    def spoil_row(self, seq: int) -> None:
        """Change the fee of a row of shard 0, behind everybody's back."""

    def spoil_checkpoint(self, portfolio_id: PortfolioId) -> None:
        """Give a portfolio in the checkpoint a status that there is not."""


class MemoryStore:
    def __init__(self) -> None:
        self._database = MemoryDatabase()
        self._incarnations = itertools.count(1)

    def journal(self, shard_id: int = 0) -> Journal:
        return MemoryJournal(self._database, ShardId(shard_id), str(next(self._incarnations)))

    def checkpoints(self, shard_id: int = 0) -> CheckpointStore:
        return MemoryCheckpointStore(self._database, ShardId(shard_id))

    def marks(self) -> MarkStore:
        return MemoryMarkStore(self._database)

    def spoil_row(self, seq: int) -> None:
        rows = self._database.shards[ShardId(0)].rows
        entry = rows[seq - 1].entry
        assert isinstance(entry, Booked)
        rows[seq - 1] = replace(rows[seq - 1], entry=replace(entry, fee=entry.fee + 1))

    def spoil_checkpoint(self, portfolio_id: PortfolioId) -> None:
        self._database.shards[ShardId(0)].unreadable[portfolio_id] = "its status is none"


class PostgresStore:
    def __init__(self, dsn: str, pool: AsyncConnectionPool[Any]) -> None:
        self._dsn = dsn
        self._pool = pool
        self.journals: list[PostgresJournal] = []

    def journal(self, shard_id: int = 0) -> Journal:
        self.journals.append(PostgresJournal(self._dsn, ShardId(shard_id), str(len(self.journals)), self._pool))
        return self.journals[-1]

    def checkpoints(self, shard_id: int = 0) -> CheckpointStore:
        return PostgresCheckpointStore(ShardId(shard_id), self._pool)

    def marks(self) -> MarkStore:
        return PostgresMarkStore(self._pool)

    def spoil_row(self, seq: int) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute("update journal set fee = fee + 1 where shard_id = 0 and seq = %s", [seq])

    def spoil_checkpoint(self, portfolio_id: PortfolioId) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute("update portfolios set status = 'none' where portfolio_id = %s", [portfolio_id])


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A database with two shards that nobody has claimed."""
    if request.param == "memory":
        yield MemoryStore()
        return
    dsn: str = request.getfixturevalue("database")
    set_up_cluster(dsn, SHARD_COUNT)
    async with postgres.pool(dsn, size_max=3) as pool:
        real = PostgresStore(dsn, pool)
        yield real
        for journal in real.journals:
            await journal.close()


@dataclass(frozen=True, slots=True)
class Shown:
    """What a mirror holds of a portfolio."""

    state: bytes
    positions: bytes
    weights: bytes


class SeenMirror(Protocol):
    """A mirror, and what its readers see."""

    mirror: Mirror

    def shown(self, portfolio_id: PortfolioId) -> Shown | None:
        """The documents of a portfolio."""

    def events(self) -> list[bytes]:
        """The stream, oldest first."""


class SeenMemoryMirror:
    def __init__(self) -> None:
        self._memory = MemoryMirror()
        self.mirror: Mirror = self._memory

    def shown(self, portfolio_id: PortfolioId) -> Shown | None:
        picture = self._memory.pictures.get(portfolio_id)
        return None if picture is None else Shown(picture.state, picture.positions, picture.weights)

    def events(self) -> list[bytes]:
        return self._memory.events


class SeenRedisMirror:
    def __init__(self, url: str, mirror: RedisMirror) -> None:
        self._client = Redis.from_url(url)
        self.mirror: Mirror = mirror

    def shown(self, portfolio_id: PortfolioId) -> Shown | None:
        names = [f"portfolio:{portfolio_id}:{part}" for part in ("state", "positions", "weights")]
        found: Any = self._client.mget(names)
        return None if found[0] is None else Shown(*found)

    def events(self) -> list[bytes]:
        rows: Any = self._client.xrange(STREAM)
        return [fields[b"event"] for _, fields in rows]

    def close(self) -> None:
        self._client.close()


@pytest_asyncio.fixture(params=["memory", "valkey"])
async def seen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SeenMirror]:
    """An empty mirror."""
    if request.param == "memory":
        yield SeenMemoryMirror()
        return
    url: str = request.getfixturevalue("redis_url")
    # A machine that stands still for a moment is no Redis that is away.
    monkeypatch.setattr("persistence.redis_mirror._TIMEOUT_S", 10.0)
    mirror = RedisMirror(url)
    real = SeenRedisMirror(url, mirror)
    try:
        yield real
    finally:
        real.close()
        await mirror.close()
