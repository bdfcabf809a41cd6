"""The journal rows of one portfolio as an operator looks at them: what is stored, and what is wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg_pool import AsyncConnectionPool

from persistence import row_codec
from persistence.examined_rows import examined, life_columns
from persistence.postgres import Connection, unavailable_on_error
from persistence.statements import SQL
from portfolio.errors import Corrupt
from portfolio.ids import PortfolioId
from portfolio.ports import DamagedRow, StoredRow


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedRow:
    """A row with its columns as they are. `computed_hash` is what the stored one must be, None if nothing tells."""

    shard_id: int
    seq: int
    version: int
    kind: str
    transaction_type: str | None
    instrument_id: str | None
    quantity: Decimal | None
    price: Decimal | None
    value: Decimal | None
    fee: Decimal | None
    stored_hash: bytes
    computed_hash: bytes | None
    examined: StoredRow | DamagedRow


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Why a portfolio was set apart, and when that was first found."""

    reason: str
    since: datetime


async def inspected(
    connections: AsyncConnectionPool[Connection], portfolio_id: PortfolioId
) -> AsyncIterator[InspectedRow]:
    """All rows of a portfolio, by version. Raises ShardUnavailable."""
    async for previous, shard_id, columns in life_columns(connections, portfolio_id):
        yield _inspected(shard_id, columns, previous)


def _inspected(shard_id: int, columns: Sequence[Any], previous: bytes | None) -> InspectedRow:
    seq, _, _, _, version, kind, _, _, transaction_type, instrument_id, quantity, price, value, fee, *_ = columns
    return InspectedRow(
        shard_id=shard_id,
        seq=seq,
        version=version,
        kind=kind,
        transaction_type=transaction_type,
        instrument_id=instrument_id,
        quantity=quantity,
        price=price,
        value=value,
        fee=fee,
        stored_hash=columns[-1],
        computed_hash=_computed(columns, previous),
        examined=examined(columns, previous),
    )


def _computed(columns: Sequence[Any], previous: bytes | None) -> bytes | None:
    try:
        return None if previous is None else row_codec.rehashed(row_codec.decode(columns), previous)
    except Corrupt:
        return None


async def quarantined(connections: AsyncConnectionPool[Connection], portfolio_id: PortfolioId) -> Quarantined | None:
    """Whether a portfolio is in quarantine. Raises ShardUnavailable."""
    with unavailable_on_error("reading the quarantine"):
        async with connections.connection() as connection:
            cursor = await connection.execute(SQL["find_quarantined"], {"portfolio_id": portfolio_id})
            found = await cursor.fetchone()
    return None if found is None else Quarantined(*found)
