"""Journal rows against their hashes: each is what was written, or damaged, and then it says how."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Final

from psycopg_pool import AsyncConnectionPool

from persistence import row_codec
from persistence.postgres import Connection, unavailable_on_error
from persistence.statements import SQL
from portfolio.errors import Corrupt
from portfolio.ids import PortfolioId
from portfolio.ports import DamagedRow, StoredRow

LIFE_FETCH_ROWS: Final = 500


def examined(columns: Sequence[Any], previous: bytes | None) -> StoredRow | DamagedRow:
    """The row of these columns; damaged if it cannot be read, or does not follow the hash `previous` (None: missing)."""
    seq, _, _, portfolio_id, version, *_, row_hash = columns

    def damaged(reason: str) -> DamagedRow:
        return DamagedRow(seq, PortfolioId(portfolio_id), version, f"journal row {seq} {reason}", row_hash)

    try:
        row = row_codec.decode(columns)
    except Corrupt as error:
        return DamagedRow(seq, PortfolioId(portfolio_id), version, error.detail, row_hash)
    if previous is None:
        return damaged("follows one that is missing")
    if row_codec.rehashed(row, previous) != row_hash:
        return damaged("does not match its hash")
    return row


async def life(
    connections: AsyncConnectionPool[Connection], portfolio_id: PortfolioId
) -> AsyncGenerator[StoredRow | DamagedRow, None]:
    """All rows of one portfolio; see ports.Journal. Raises ShardUnavailable."""
    async for previous, _, columns in life_columns(connections, portfolio_id):
        yield examined(columns, previous)


async def life_columns(
    connections: AsyncConnectionPool[Connection], portfolio_id: PortfolioId
) -> AsyncIterator[tuple[bytes | None, int, Sequence[Any]]]:
    """Each row of one portfolio: the hash it is chained to, its shard, and its columns. Raises ShardUnavailable."""
    with unavailable_on_error(f"reading the journal rows of {portfolio_id}"):
        async with (
            connections.connection() as connection,
            connection.transaction(),
            connection.cursor(name="life") as cursor,
        ):
            await cursor.execute(SQL["select_life"], {"portfolio_id": portfolio_id})
            while rows := await cursor.fetchmany(LIFE_FETCH_ROWS):
                for previous, shard_id, *columns in rows:
                    yield previous, shard_id, columns
