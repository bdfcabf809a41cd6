"""What analytics read in Postgres, as a value that is sent to a worker and reads there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, TypeVar

from psycopg_pool import AsyncConnectionPool

from persistence import postgres
from persistence.history import PostgresHistory
from persistence.postgres import Connection
from persistence.price_store import PostgresPriceStore
from portfolio.entries import Entry
from portfolio.ids import PortfolioId

Result = TypeVar("Result")
_Read = Callable[[AsyncConnectionPool[Connection]], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """Reads of one database. All that a process reads goes over one connection, which it keeps."""

    dsn: str = field(repr=False)
    """It may have a password."""

    def entries(self, portfolio_id: PortfolioId) -> Sequence[Entry]:
        """Everything booked in a portfolio so far. Raises PortfolioQuarantined or ShardUnavailable."""
        return self._read(lambda connections: PostgresHistory(connections).entries(portfolio_id))

    def closes_csv(self) -> bytes:
        """The daily prices of all instruments, as PostgresPriceStore gives them. Raises ShardUnavailable."""
        return self._read(lambda connections: PostgresPriceStore(connections).closes_csv(None, date.min, date.max))

    def _read(self, read: _Read[Result]) -> Result:
        runner, connections = _connected(self.dsn)
        return runner.run(_awaited(read(connections)))


@cache
def _connected(dsn: str) -> tuple[asyncio.Runner, AsyncConnectionPool[Any]]:
    """A loop to read in, and a pool of one connection. A connection that has broken is replaced when it is next asked for."""
    runner = asyncio.Runner()
    connections = runner.run(_opened(dsn))
    return runner, connections


async def _opened(dsn: str) -> AsyncConnectionPool[Any]:
    connections = postgres.pool(dsn, 1)
    await connections.open()
    return connections


async def _awaited(read: Awaitable[Result]) -> Result:
    return await read
