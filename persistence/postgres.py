"""Connections to Postgres, set up alike everywhere, and the driver's errors translated once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool

from portfolio.errors import ShardUnavailable

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_OPTIONS: Final[dict[str, Any]] = {
    "application_name": "portfolio-state",
    "connect_timeout": 5,
    # A server that vanished without a word is noticed within ten seconds, not after TCP's two hours.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "options": "-c TimeZone=UTC -c statement_timeout=15s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s",
}


async def connect(dsn: str) -> Connection:
    """A connection in autocommit. Raises psycopg.Error."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, **_OPTIONS)
    connection.prepare_threshold = 2
    return connection


def pool(dsn: str, size_max: int) -> AsyncConnectionPool[Connection]:
    """A pool that opens connections when they are wanted; the caller opens and closes it."""
    return AsyncConnectionPool(
        dsn,
        kwargs={"autocommit": True, **_OPTIONS},
        min_size=0,
        max_size=size_max,
        timeout=5,
        max_waiting=100,
        open=False,
        check=AsyncConnectionPool.check_connection,
    )


@contextmanager
def unavailable_on_error(doing: str) -> Iterator[None]:
    """Turn a driver's error in a read, or in a write that may be repeated, into ShardUnavailable."""
    try:
        yield
    except (psycopg.Error, OSError) as error:
        raise ShardUnavailable(f"Postgres failed while {doing}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the rest is context for logs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
