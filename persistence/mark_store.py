"""Market marks in Postgres: the newest of each instrument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from psycopg_pool import AsyncConnectionPool

from persistence.array_literal import plain_array, text_array
from persistence.postgres import Connection, unavailable_on_error
from persistence.statements import SQL
from portfolio.book import Mark
from portfolio.ids import InstrumentId
from portfolio.ports import RecordedMark


class PostgresMarkStore:
    """The marks of the whole cluster."""

    def __init__(self, connections: AsyncConnectionPool[Connection]) -> None:
        self._connections = connections

    async def record(self, marks: Mapping[InstrumentId, Mark]) -> frozenset[InstrumentId]:
        """Make marks durable; gives the instruments whose mark was newer than the one known. Raises ShardUnavailable."""
        ordered = sorted(marks.items())
        parameters = {
            "instrument_id": text_array(instrument_id for instrument_id, _ in ordered),
            "price": plain_array(mark.price for _, mark in ordered),
            "as_of": text_array(mark.time.isoformat() for _, mark in ordered),
        }
        with unavailable_on_error("recording marks"):
            async with self._connections.connection() as connection:
                cursor = await connection.execute(SQL["upsert_marks"], parameters)
                return frozenset(InstrumentId(found) for (found,) in await cursor.fetchall())

    async def since(self, moment: datetime) -> Sequence[RecordedMark]:
        """Marks recorded at `moment` or later, oldest first. Raises ShardUnavailable."""
        with unavailable_on_error("reading marks"):
            async with self._connections.connection() as connection:
                cursor = await connection.execute(SQL["select_marks"], {"since": moment})
                rows = await cursor.fetchall()
        return [
            RecordedMark(InstrumentId(instrument_id), Mark(price, as_of), recorded_at)
            for instrument_id, price, as_of, recorded_at in rows
        ]
