"""Daily prices in Postgres: recorded in bulk, read for analytics as text, or as marks of a moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Final

from psycopg.errors import UniqueViolation
from psycopg_pool import AsyncConnectionPool

from persistence.postgres import Connection, first_line, unavailable_on_error
from persistence.statements import SQL
from portfolio.book import Mark
from portfolio.daily_price import DailyPrice, closing_mark
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId

CSV_HEADER: Final = b"instrument_id,price_date,close,adjusted_close\n"
_ROWS_PER_WRITE: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPrices:
    """What a load changed: days that were not known, of how many instruments; days whose prices are others now."""

    days_new: int
    instruments_with_new_days: int
    days_corrected: int


class PostgresPriceStore:
    """The daily prices of the whole cluster. Everything raises ShardUnavailable if Postgres fails."""

    def __init__(self, connections: AsyncConnectionPool[Connection]) -> None:
        self._connections = connections

    async def record(self, prices: Iterable[DailyPrice]) -> RecordedPrices:
        """Make prices durable, those of days that are known replaced; all of them, or none if `prices` raises.

        `prices` is read once, a few thousand at a time. Raises InvalidRequest if it has a day of an instrument twice.
        """
        with unavailable_on_error("recording prices"):
            async with self._connections.connection() as connection, connection.transaction():
                await connection.execute(SQL["allow_long_work_on_prices"])
                await connection.execute(SQL["create_incoming_prices"])
                await _copy(connection, prices)
                return await _merge(connection)

    async def generation(self) -> int:
        """A number that grows whenever prices change. Read before them, it is never newer than they are."""
        with unavailable_on_error("reading the generation of prices"):
            async with self._connections.connection() as connection:
                found = await (await connection.execute(SQL["select_price_generation"])).fetchone()
        assert found is not None
        return int(found[0])

    async def closes_csv(self, instrument_ids: Collection[InstrumentId] | None, first: date, last: date) -> bytes:
        """The prices of some instruments (None: of all) from one day to another, both included, as CSV below CSV_HEADER.

        Each line ends with a newline; they come in no order. The fields hold nothing that CSV would have to quote.
        """
        parameters = {
            "instrument_ids": None if instrument_ids is None else list(instrument_ids),
            "first": first,
            "last": last,
        }
        with unavailable_on_error("reading prices"):
            async with self._connections.connection() as connection, connection.transaction():
                await connection.execute(SQL["allow_long_work_on_prices"])
                cursor = await connection.execute(SQL["select_closes_csv"], parameters)
                return b"".join([CSV_HEADER, *[lines.encode() for (lines,) in await cursor.fetchall()]])

    async def closing_marks(
        self, instrument_ids: Iterable[InstrumentId], moment: datetime
    ) -> Mapping[InstrumentId, Mark]:
        """The newest close of each of these instruments that was known at `moment`; those without one are left out."""
        parameters = {"instrument_ids": list(instrument_ids), "moment": moment}
        with unavailable_on_error("reading closes"):
            async with self._connections.connection() as connection:
                cursor = await connection.execute(SQL["select_closes_at"], parameters)
                rows = await cursor.fetchall()
        return {InstrumentId(instrument_id): closing_mark(close, day) for instrument_id, day, close in rows}


async def _copy(connection: Connection, prices: Iterable[DailyPrice]) -> None:
    try:
        async with connection.cursor() as cursor, cursor.copy(SQL["copy_incoming_prices"]) as copy:
            for text in _as_text(prices):
                await copy.write(text)
    except UniqueViolation as error:
        raise InvalidRequest(f"a day of an instrument is given twice: {first_line(error)}") from error


def _as_text(prices: Iterable[DailyPrice]) -> Iterator[str]:
    """Lines for COPY, some thousands at a time. No character of an instrument's id would have to be escaped there."""
    remaining = iter(prices)
    while some := list(islice(remaining, _ROWS_PER_WRITE)):
        yield "".join(
            [f"{price.instrument_id}\t{price.day}\t{price.close:f}\t{price.adjusted_close:f}\n" for price in some]
        )


async def _merge(connection: Connection) -> RecordedPrices:
    await connection.execute(SQL["lock_prices"])
    days_corrected = (await connection.execute(SQL["update_changed_prices"])).rowcount
    added = await (await connection.execute(SQL["insert_new_prices"])).fetchone()
    assert added is not None
    if days_corrected or added[0]:
        await connection.execute(SQL["advance_price_generation"])
    return RecordedPrices(days_new=added[0], instruments_with_new_days=added[1], days_corrected=days_corrected)
