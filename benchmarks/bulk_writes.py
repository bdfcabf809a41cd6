"""Durable updates through actor handles, 100 a call, beside Postgres COPY into the same table, in turn.

An update is one BUY with full accounting: decided on its book, hashed into the shard's chain, fenced, committed, and its
book replaced; the calls are made ready beforehand. COPY gets the very rows that the updates before it wrote, read out of
`journal` beforehand and given other names (the shard's number and a prefix to the portfolio's id, which the table's
unique indexes ask for). What is timed is one transaction from `begin` to the answer to `commit`. Its rows are then
deleted and vacuumed away, which is not timed, so that every round finds the table as the updates left it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from decimal import Decimal
from typing import Final

import psycopg
from psycopg import sql

from actors.gateway import Gateway
from benchmarks import holdings
from benchmarks.booking import book
from benchmarks.effort import Effort
from benchmarks.results import Line, Section
from benchmarks.stand import Stand
from portfolio.commands import UpdatePortfolio
from portfolio.transactions import Transaction, TransactionType

CALL_SIZE: Final = 100
CALLERS: Final = 16
WARM_UP_ROWS: Final = 20_000
SHARD_OFFSET: Final = 1_000_000
"""Added to the shards' numbers; beyond any real one."""
_RENAMED: Final = {
    "shard_id": sql.SQL("shard_id + {}").format(SHARD_OFFSET),
    "portfolio_id": sql.SQL("'COPY-' || portfolio_id"),
}
_BLOCK: Final = 1024 * 1024


def measure(stand: Stand, effort: Effort) -> Section:
    """Rounds of both in turn, after a warm-up of each."""
    section = Section("bulk writes")
    calls = _calls(effort.rows)
    with psycopg.connect(stand.postgres.dsn, autocommit=True) as connection:
        asyncio.run(_booked_s(stand.gateway, _calls(WARM_UP_ROWS)))
        _copied_s(connection, _newest_rows(connection, WARM_UP_ROWS))
        for number in range(effort.rounds):
            with section.round("updates", number=number) as found:
                found["per_s"] = round(effort.rows / asyncio.run(_booked_s(stand.gateway, calls)), 1)
            rows = _newest_rows(connection, effort.rows)
            stand.settle()
            with section.round("COPY", number=number) as found:
                found["per_s"] = round(effort.rows / _copied_s(connection, rows), 1)
    updates, copy = (statistics.median(section.of(what, "per_s")) for what in ("updates", "COPY"))
    section.lines = [
        Line(
            shows=4,
            what="updates by handle, 100 a call",
            figure=updates,
            unit="/s",
            floor=copy,
            floor_is="COPY",
            least=0.35,
        )
    ]
    return section


def _calls(updates: int) -> list[list[UpdatePortfolio]]:
    return [
        [single_update(number) for number in range(first, first + CALL_SIZE)] for first in range(0, updates, CALL_SIZE)
    ]


def single_update(number: int) -> UpdatePortfolio:
    """A BUY of 1.5 units: portfolios in turn, and with each turn the next instrument."""
    bought = Transaction(
        transaction_type=TransactionType.BUY,
        instrument_id=holdings.instrument(number // holdings.PORTFOLIOS),
        quantity=Decimal("1.5"),
        price=Decimal("101.25"),
    )
    return UpdatePortfolio(portfolio_id=holdings.portfolio(number), transactions=(bought,))


async def _booked_s(gateway: Gateway, calls: list[list[UpdatePortfolio]]) -> float:
    """Seconds until every call is acknowledged, a few under way at a time. Raises RuntimeError if one is refused."""
    # The calls that are held ready are no work of the caller's that a collection should go through.
    gc.freeze()
    began = time.perf_counter()
    await book(gateway, calls, CALLERS)
    return time.perf_counter() - began


def _newest_rows(connection: psycopg.Connection[tuple[object, ...]], count: int) -> bytes:
    """The newest `count` rows of the journal under other names, as COPY takes them."""
    columns = sql.SQL(", ").join(_RENAMED.get(name, sql.Identifier(name)) for name in _columns(connection))
    rows = sql.SQL(
        "copy (select {} from"
        " (select * from journal where shard_id < {} order by recorded_at desc, shard_id, seq limit {}) as newest"
        " order by recorded_at, shard_id, seq) to stdout"
    ).format(columns, SHARD_OFFSET, count)
    with connection.cursor().copy(rows) as copy:
        return b"".join(copy)


def _columns(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    found = connection.execute("select * from journal limit 0").description
    assert found is not None
    return [column.name for column in found]


def _copied_s(connection: psycopg.Connection[tuple[object, ...]], rows: bytes) -> float:
    """Seconds that one transaction takes which copies `rows` into the journal; they are gone afterwards."""
    cursor = connection.cursor()
    began = time.perf_counter()
    with connection.transaction(), cursor.copy("copy journal from stdin") as copy:
        for first in range(0, len(rows), _BLOCK):
            copy.write(rows[first : first + _BLOCK])
    took_s = time.perf_counter() - began
    assert cursor.rowcount == rows.count(b"\n"), f"COPY took {cursor.rowcount} rows"
    connection.execute("delete from journal where shard_id >= %s", (SHARD_OFFSET,))
    connection.execute("vacuum journal")
    return took_s
