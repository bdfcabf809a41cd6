"""Connections to Postgres, set up alike everywhere, and the driver's errors translated once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from portfolio.errors import ShardUnavailable

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "portfolio-state",
    "connect_timeout": 5,
    # A server that vanished without a word is noticed within ten seconds, not after TCP's two hours.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
_SESSION: Final = (
    "-c TimeZone=UTC -c statement_timeout=15s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
)
# Last, so that no setting of a role or a database relaxes it: an acknowledged update must be on disk.
_DURABLE: Final = "-c synchronous_commit=on"


def conninfo(dsn: str) -> str:
    """`dsn` with our defaults beneath it: whatever the operator gives wins, but for durability.

    Raises ShardUnavailable if it cannot be read.
    """
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise ShardUnavailable(f"the Postgres DSN cannot be read: {first_line(error)}") from error
    options = " ".join(part for part in (_SESSION, str(given.get("options") or ""), _DURABLE) if part)
    return make_conninfo(**{**_DEFAULTS, **given, "options": options})


async def connect(dsn: str) -> Connection:
    """A connection in autocommit. Raises psycopg.Error."""
    connection = await psycopg.AsyncConnection.connect(conninfo(dsn), autocommit=True)
    connection.prepare_threshold = 2
    return connection


@contextmanager
def severed_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Break the connection if the block takes longer, so that what waits in it fails with psycopg.OperationalError.

    The driver answers a cancellation by asking the server to cancel, and waits up to ten seconds for one that is silent.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _sever, connection)
    try:
        yield
    finally:
        timer.cancel()


def _sever(connection: Connection) -> None:
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate, suppress(OSError):
        duplicate.shutdown(socket.SHUT_RDWR)


def pool(dsn: str, size_max: int) -> Pool:
    """A pool that opens connections when they are wanted; the caller opens and closes it."""
    return AsyncConnectionPool(
        conninfo(dsn),
        kwargs={"autocommit": True},
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
