"""The comparison service's tables: an update locks its portfolio's row, and writes what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool

from persistence import postgres
from portfolio import money
from portfolio.book import Book, Mark, Position
from portfolio.commands import OpenPortfolio, UpdatePortfolio
from portfolio.decide import Decision, decide
from portfolio.entries import Booked
from portfolio.errors import PortfolioExists, PortfolioNotFound
from portfolio.ids import PortfolioId
from portfolio.status import Status

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

POOL_SIZE: Final = 16
_PORTFOLIO: Final = """
    select portfolio_name, base_currency, allow_short, version, cash, realized_pnl, fees, net_deposits,
        created_at, last_updated
    from portfolios where portfolio_id = %s"""
_LOCK: Final = f"{_PORTFOLIO} for update"
_POSITIONS: Final = """
    select instrument_id, quantity, cost_basis, realized_pnl, mark_price, mark_time, last_updated
    from positions where portfolio_id = %s"""
_OPEN: Final = """
    insert into portfolios (portfolio_name, base_currency, allow_short, version, cash, realized_pnl, fees, net_deposits,
        created_at, last_updated, portfolio_id)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_UPDATE: Final = """
    update portfolios set version = %s, cash = %s, realized_pnl = %s, fees = %s, last_updated = %s
    where portfolio_id = %s"""
_HOLD: Final = """
    insert into positions (portfolio_id, instrument_id, quantity, cost_basis, realized_pnl, mark_price, mark_time, last_updated)
    values (%s, %s, %s, %s, %s, %s, %s, %s)
    on conflict (portfolio_id, instrument_id) do update set
        quantity = excluded.quantity, cost_basis = excluded.cost_basis, realized_pnl = excluded.realized_pnl,
        mark_price = excluded.mark_price, mark_time = excluded.mark_time, last_updated = excluded.last_updated"""
_CLOSE: Final = "delete from positions where portfolio_id = %s and instrument_id = %s"
_RECORD: Final = """
    insert into transactions (portfolio_id, version, transaction_id, transaction_type, instrument_id, quantity, price,
        value, fee, effective_at, recorded_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


def pool(dsn: str) -> Pool:
    """Connections that stay open and keep their prepared statements; the settings for durability are the service's."""
    return AsyncConnectionPool(
        postgres.conninfo(dsn),
        kwargs={"autocommit": True, "prepare_threshold": 1},
        min_size=POOL_SIZE,
        max_size=POOL_SIZE,
        open=False,
    )


class Store:
    """Books in Postgres."""

    def __init__(self, connections: Pool) -> None:
        self._connections = connections

    async def open(self, command: OpenPortfolio) -> Book:
        """A new portfolio. Raises PortfolioExists."""
        decision = decide(None, command, now=datetime.now(UTC))
        try:
            async with self._connections.connection() as connection, connection.transaction():
                await connection.execute(_OPEN, (*_portfolio_row(decision.book), command.portfolio_id))
                await _record(connection, decision)
        except psycopg.errors.UniqueViolation as error:
            raise PortfolioExists(f"portfolio {command.portfolio_id} exists") from error
        return decision.book

    async def update(self, command: UpdatePortfolio) -> Book:
        """The book after the update, committed. Raises what `decide` raises, with nothing changed."""
        # Not in a pipeline: that saves round trips of 50 µs, and costs this process more than it saves.
        async with self._connections.connection() as connection, connection.transaction():
            book = await _read(connection, _LOCK, command.portfolio_id)
            decision = decide(book, command, now=datetime.now(UTC))
            await _save(connection, decision)
        return decision.book

    async def book(self, portfolio_id: PortfolioId) -> Book:
        """The committed book. Raises PortfolioNotFound."""
        async with self._connections.connection() as connection, connection.transaction():
            # One moment for both tables.
            await connection.execute("set transaction isolation level repeatable read read only")
            return await _read(connection, _PORTFOLIO, portfolio_id)


async def _read(connection: Connection, statement: str, portfolio_id: PortfolioId) -> Book:
    found = await connection.execute(statement, (portfolio_id,), binary=True)
    held = await connection.execute(_POSITIONS, (portfolio_id,), binary=True)
    row = await found.fetchone()
    if row is None:
        raise PortfolioNotFound(f"there is no portfolio {portfolio_id}", portfolio_id=portfolio_id)
    return _book(portfolio_id, row, await held.fetchall())


async def _save(connection: Connection, decision: Decision) -> None:
    book = decision.book
    await connection.execute(
        _UPDATE, (book.version, book.cash, book.realized_pnl, book.fees, book.last_updated, book.portfolio_id)
    )
    for instrument_id in {entry.instrument_id for entry in decision.entries if isinstance(entry, Booked)}:
        position = book.positions.get(instrument_id)
        if position is not None:
            await connection.execute(_HOLD, _position_row(book.portfolio_id, position))
        else:
            # Cash entries name the currency, which is never a position.
            await connection.execute(_CLOSE, (book.portfolio_id, instrument_id))
    await _record(connection, decision)


async def _record(connection: Connection, decision: Decision) -> None:
    for entry in decision.entries:
        if isinstance(entry, Booked):
            await connection.execute(_RECORD, _transaction_row(entry))


def _book(portfolio_id: PortfolioId, row: tuple[Any, ...], held: Sequence[tuple[Any, ...]]) -> Book:
    name, currency, allow_short, version, cash, realized, fees, net_deposits, created_at, last_updated = row
    return Book(
        portfolio_id=portfolio_id,
        portfolio_name=name,
        base_currency=currency,
        allow_short=allow_short,
        min_cash=None,
        status=Status.ACTIVE,
        version=version,
        cash=cash,
        realized_pnl=realized,
        income=money.ZERO_2,
        fees=fees,
        taxes=money.ZERO_2,
        net_deposits=net_deposits,
        transfers_at_cost=money.ZERO_6,
        positions={position.instrument_id: position for position in map(_position, held)},
        created_at=created_at,
        last_updated=last_updated,
    )


def _position(row: tuple[Any, ...]) -> Position:
    instrument_id, quantity, cost_basis, realized_pnl, price, time, last_updated = row
    return Position(
        instrument_id=instrument_id,
        quantity=quantity,
        cost_basis=cost_basis,
        realized_pnl=realized_pnl,
        trade_mark=Mark(price, time),
        last_updated=last_updated,
    )


def _portfolio_row(book: Book) -> tuple[Any, ...]:
    return (
        book.portfolio_name,
        book.base_currency,
        book.allow_short,
        book.version,
        book.cash,
        book.realized_pnl,
        book.fees,
        book.net_deposits,
        book.created_at,
        book.last_updated,
    )


def _position_row(portfolio_id: PortfolioId, position: Position) -> tuple[Any, ...]:
    return (
        portfolio_id,
        position.instrument_id,
        position.quantity,
        position.cost_basis,
        position.realized_pnl,
        position.trade_mark.price,
        position.trade_mark.time,
        position.last_updated,
    )


def _transaction_row(entry: Booked) -> tuple[Any, ...]:
    return (
        entry.portfolio_id,
        entry.version,
        entry.transaction_id,
        entry.transaction_type.value,
        entry.instrument_id,
        entry.quantity,
        entry.price,
        entry.value,
        entry.fee,
        entry.effective_at,
        entry.recorded_at,
    )
