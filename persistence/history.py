"""The past of one portfolio, read from the journal: its transactions, and its entries up to a version or a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from persistence import row_codec
from persistence.postgres import Connection, unavailable_on_error
from persistence.statements import SQL
from portfolio.entries import Entry
from portfolio.errors import PortfolioQuarantined
from portfolio.ids import PortfolioId

VERSION_MAX: Final = 2**63 - 1
_FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BookedTransaction:
    """A transaction as it was booked; numbers at the journal's scales."""

    transaction_id: UUID
    version: int
    instrument_id: str
    transaction_type: str
    quantity: Decimal
    price: Decimal
    value: Decimal
    fee: Decimal
    effective_at: datetime
    recorded_at: datetime
    idempotency_key: str | None


class PostgresHistory:
    """Reads of committed rows; they never wait for, nor hold up, the shard that writes them."""

    def __init__(self, connections: AsyncConnectionPool[Connection]) -> None:
        self._connections = connections

    async def entries(
        self, portfolio_id: PortfolioId, *, version: int = VERSION_MAX, effective_at: datetime | None = None
    ) -> Sequence[Entry]:
        """What was booked up to `version`, leaving out what took effect after `effective_at`; empty if unknown.

        Raises PortfolioQuarantined: rows that do not add up make no past either.
        """
        parameters = {
            "portfolio_id": portfolio_id,
            "version": version,
            "effective_at": effective_at or _FOR_EVER,
        }
        with unavailable_on_error("reading the journal"):
            async with self._connections.connection() as connection:
                await _check_not_quarantined(connection, portfolio_id)
                cursor = await connection.execute(SQL["select_history"], parameters)
                rows = await cursor.fetchall()
        # A long life takes a while to read; other requests of this process go on meanwhile.
        return await asyncio.to_thread(lambda: [row_codec.decode(columns).entry for columns in rows])

    async def transactions(
        self, portfolio_id: PortfolioId, *, before_version: int, limit: int
    ) -> Sequence[BookedTransaction]:
        """At most `limit` transactions before a version, newest first. Raises PortfolioQuarantined."""
        parameters = {"portfolio_id": portfolio_id, "before_version": before_version, "limit": limit}
        with unavailable_on_error("reading the journal"):
            async with self._connections.connection() as connection:
                await _check_not_quarantined(connection, portfolio_id)
                cursor = await connection.execute(SQL["select_transactions"], parameters)
                return [BookedTransaction(*columns) for columns in await cursor.fetchall()]

    async def ping(self) -> None:
        """Raises ShardUnavailable if Postgres does not answer."""
        with unavailable_on_error("asking whether it is there"):
            async with self._connections.connection() as connection:
                await connection.execute(SQL["ping"])


async def _check_not_quarantined(connection: Connection, portfolio_id: PortfolioId) -> None:
    found = await (await connection.execute(SQL["find_quarantined"], {"portfolio_id": portfolio_id})).fetchone()
    if found is not None:
        raise PortfolioQuarantined(
            f"portfolio {portfolio_id} is in quarantine: {found[0]}", portfolio_id=portfolio_id, reason=found[0]
        )
