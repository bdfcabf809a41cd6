"""Shards for tests, without Ray: on Postgres or in memory, run, stopped in good order, or killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from actors.settings import Limits
from actors.shard import Shard
from persistence import postgres
from persistence.checkpoint import PostgresCheckpointStore
from persistence.journal import PostgresJournal
from persistence.mark_store import PostgresMarkStore
from persistence.migrate import set_up_cluster
from portfolio.book import Book
from portfolio.commands import Command
from portfolio.entries import derived_id
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Mirror
from tests.oracles.memory_store import (
    MemoryCheckpointStore,
    MemoryDatabase,
    MemoryJournal,
    MemoryMarkStore,
    MemoryMirror,
)

FAST: Final = Limits(
    checkpoint_interval_s=3600.0,
    revaluation_interval_s=0.01,
    mark_refresh_interval_s=0.05,
    heartbeat_interval_s=0.05,
    mirror_interval_s=0.005,
    checkpoint_rest_max_s=0.05,
    lease_s=60.0,
)
"""Everything soon, so that tests need not wait; checkpoints only when a test asks, so that it can tell what they hold.

Leases are longer than any machine stands still: tests whose subject they are set their own.
"""

_incarnations = itertools.count(1)


@dataclass(slots=True)
class RunningShard:
    """A shard that serves, and the ways to end it."""

    shard: Shard
    journal: PostgresJournal | MemoryJournal
    life: asyncio.Task[None]

    async def book(self, command: Command) -> Book:
        """The book right after a command. Raises what the shard answers."""
        return (await self.shard.submit(command)).book

    async def save(self) -> None:
        """Bring the checkpoint up to the journal."""
        serving = self.shard._serving
        assert serving is not None
        await serving.checkpointer.save()

    async def kill(self) -> None:
        """End it with nothing saved, as a crash would."""
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)

    async def stop(self) -> None:
        """End it in good order, with a last checkpoint."""
        await self.kill()
        await self.shard.stop()

    async def stopped(self) -> BaseException:
        """Why it ended by itself."""
        (error,) = await asyncio.gather(self.life, return_exceptions=True)
        assert error is not None
        return error

    def everything(self) -> dict[PortfolioId, tuple[str, bytes, bytes, bytes]]:
        """Every book and its documents, to the last digit."""
        books = self.shard.books
        return {book.portfolio_id: (exactly(book), *self._documents(book.portfolio_id)) for book in books}

    def _documents(self, portfolio_id: PortfolioId) -> tuple[bytes, bytes, bytes]:
        documents = self.shard.books.documents(portfolio_id)
        return documents.state, documents.positions, documents.weights


def exactly(book: Book) -> str:
    """A book as text in which 1.0 and 1.00 differ."""
    return repr(replace(book, positions=dict(sorted(book.positions.items()))))


@contextlib.asynccontextmanager
async def postgres_shard(
    dsn: str,
    *,
    shard_id: int = 0,
    shard_count: int = 1,
    mirror: Mirror | None = None,
    limits: Limits = FAST,
    journal_dsn: str | None = None,
    is_gone: Callable[[str], bool] = lambda owner: True,
) -> AsyncIterator[RunningShard]:
    """A shard of a migrated database, serving; killed at the end of the block unless it has ended before.

    `journal_dsn` is for a journal whose connection goes another way than the rest. Unless `is_gone` says otherwise, the
    owner before is taken for dead, and need not be outlasted.
    """
    # In a thread, since it may wait for a checkpoint of another shard on this loop.
    await asyncio.to_thread(set_up_cluster, dsn, shard_count)
    async with postgres.pool(dsn, size_max=3) as pool:
        owner = f"test/{next(_incarnations)}"
        journal = PostgresJournal(journal_dsn or dsn, ShardId(shard_id), owner, pool)
        shard = Shard(
            shard_id=ShardId(shard_id),
            journal=journal,
            epoch=lambda: journal.epoch,
            checkpoints=PostgresCheckpointStore(ShardId(shard_id), pool),
            marks=PostgresMarkStore(pool),
            mirror=mirror or MemoryMirror(),
            limits=limits,
            is_gone=is_gone,
        )
        try:
            async with _running(shard, journal) as running:
                yield running
        finally:
            await journal.close()


@contextlib.asynccontextmanager
async def memory_shard(
    database: MemoryDatabase,
    *,
    shard_id: int = 0,
    shard_count: int = 1,
    mirror: Mirror | None = None,
    limits: Limits = FAST,
    is_gone: Callable[[str], bool] = lambda owner: True,
) -> AsyncIterator[RunningShard]:
    """A shard of a database in memory, serving; killed at the end of the block unless it has ended before."""
    database.shard_count = shard_count
    idle = idle_memory_shard(database, shard_id=shard_id, mirror=mirror, limits=limits, is_gone=is_gone)
    async with idle.serving() as running:
        yield running


@dataclass(frozen=True, slots=True)
class IdleShard:
    """A shard that has not claimed anything yet: it may read ahead, or take over."""

    shard: Shard
    journal: MemoryJournal

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[RunningShard]:
        """Claim it and serve; killed at the end of the block unless it has ended before."""
        async with _running(self.shard, self.journal) as running:
            yield running


def idle_memory_shard(
    database: MemoryDatabase,
    *,
    shard_id: int = 0,
    mirror: Mirror | None = None,
    limits: Limits = FAST,
    is_gone: Callable[[str], bool] = lambda owner: True,
) -> IdleShard:
    """A shard of a database in memory that stands by."""
    journal = MemoryJournal(database, ShardId(shard_id), f"test/{next(_incarnations)}")
    shard = Shard(
        shard_id=ShardId(shard_id),
        journal=journal,
        epoch=lambda: journal.epoch,
        checkpoints=MemoryCheckpointStore(database, ShardId(shard_id)),
        marks=MemoryMarkStore(database),
        mirror=mirror or MemoryMirror(),
        limits=limits,
        is_gone=is_gone,
    )
    return IdleShard(shard, journal)


@contextlib.asynccontextmanager
async def _running(shard: Shard, journal: PostgresJournal | MemoryJournal) -> AsyncIterator[RunningShard]:
    await shard.start()
    running = RunningShard(shard, journal, asyncio.ensure_future(shard.run()))
    try:
        # One turn of the loop, in which `run` begins; its jobs do in the next, when the test waits for something.
        await asyncio.sleep(0)
        yield running
    finally:
        await running.kill()


def announced(mirror: MemoryMirror) -> list[tuple[PortfolioId, int]]:
    """The portfolios and versions of the events in a mirror's stream, in order."""
    return [_announced(event) for event in mirror.events]


def _announced(event: bytes) -> tuple[PortfolioId, int]:
    content = msgspec.json.decode(event)
    portfolio_id = PortfolioId(content["portfolio_state_updated"]["portfolio_id"])
    # An event names its version only in the id that is derived from it.
    return next(
        (portfolio_id, version)
        for version in itertools.count(1)
        if str(derived_id(portfolio_id, version)) == content["event_id"]
    )


def over_tcp(dsn: str, port: int | None = None) -> str:
    """The same database by TCP, or by a proxy that listens on `port`."""
    parameters = conninfo_to_dict(dsn)
    return make_conninfo(dsn, host="127.0.0.1", port=port or int(str(parameters["port"])))


def tcp_port(dsn: str) -> int:
    """The port of loopback where the server of `dsn` listens."""
    return int(str(conninfo_to_dict(dsn)["port"]))


def socket_dir(path: Path) -> Path:
    """A directory for sockets as a shard wants it."""
    path.mkdir(mode=0o700, exist_ok=True)
    return path


async def eventually(is_so: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Return once `is_so`. Raises TimeoutError if it is not so after the time, however the machine spent it."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while not is_so():
        if clock() > deadline:
            raise TimeoutError(f"not so within {within_s:g} s")
        await asyncio.sleep(0.005)
