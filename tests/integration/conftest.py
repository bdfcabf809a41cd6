"""A database to look into and to tamper with, and the journal of one of its shards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from persistence import postgres
from persistence.journal import PostgresJournal
from persistence.migrate import set_up_cluster
from portfolio.ids import ShardId


@dataclass(slots=True)
class Inspector:
    """Looks into a database, and tampers with it, behind the service's back."""

    connection: psycopg.Connection[tuple[Any, ...]]

    def rows(self, statement: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        return self.connection.execute(statement, parameters).fetchall()

    def one(self, statement: LiteralString, *parameters: object) -> Any:
        """The one value that a query gives."""
        return self.rows(statement, *parameters)[0][0]

    def do(self, statement: LiteralString, *parameters: object) -> int:
        """Do something; gives how many rows it touched."""
        return self.connection.execute(statement, parameters).rowcount

    def end_backends(self) -> int:
        """End every other connection to this database, as an administrator would."""
        return len(
            self.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        )

    def forget_everything(self) -> None:
        """Empty the database but for its schema and its shards, which begin anew."""
        self.connection.execute("truncate journal, positions, portfolios, marks, quarantine, instrument_prices")
        self.connection.execute(
            "update shards set epoch = 0, owner = null, head_seq = 0, head_hash = '', checkpoint_seq = 0, announced_seq = 0"
        )

    def sequence_is_gapless(self) -> bool:
        """Whether every journal counts from 1 to its shard's head, and every portfolio's versions from 1."""
        return not self.rows(
            "select 1 from (select seq, row_number() over (partition by shard_id order by seq) as place, version,"
            " row_number() over (partition by portfolio_id order by seq) as life from journal) numbered"
            " where seq <> place or version <> life"
            " union all select 1 from shards where head_seq <>"
            " (select count(*) from journal where journal.shard_id = shards.shard_id)"
        )


@pytest.fixture
def inspector(database: str) -> Iterator[Inspector]:
    """A view into the test's own database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield Inspector(connection)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """Connections to a database of two shards."""
    set_up_cluster(database, 2)
    async with postgres.pool(database, size_max=3) as made:
        yield made


class NewJournal(Protocol):
    """Makes the journal of an incarnation, which has claimed nothing yet; `dsn` is for one that goes another way."""

    def __call__(
        self, owner: str, actor: str | None = None, *, shard_id: int = 0, dsn: str | None = None
    ) -> PostgresJournal: ...


@pytest.fixture
async def new_journal(database: str, pool: AsyncConnectionPool[Any]) -> AsyncIterator[NewJournal]:
    """Journals that are closed also after a test that fails: else the next one would fail for a connection left open."""
    async with contextlib.AsyncExitStack() as made:

        def make(owner: str, actor: str | None = None, *, shard_id: int = 0, dsn: str | None = None) -> PostgresJournal:
            journal = PostgresJournal(dsn or database, ShardId(shard_id), owner, pool, actor)
            made.push_async_callback(journal.close)
            return journal

        yield make


@pytest.fixture
async def journal(new_journal: NewJournal) -> PostgresJournal:
    """The journal of shard 0, claimed."""
    made = new_journal("first")
    await made.claim()
    return made
