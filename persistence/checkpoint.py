"""The checkpoint in Postgres: the tables portfolios and positions, as of one row of the journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from psycopg_pool import AsyncConnectionPool

from persistence.array_literal import plain_array, text_array
from persistence.postgres import Connection, unavailable_on_error
from persistence.statements import SQL
from portfolio import ids
from portfolio.book import Book, Mark, Position
from portfolio.errors import Deposed
from portfolio.ids import Currency, InstrumentId, PortfolioId, ShardId
from portfolio.ports import Checkpoint, SavedBooks, ValuedBook
from portfolio.status import Status
from portfolio.valuation import ValuedPosition

_POSITIONS_PER_STATEMENT: Final = 200


class PostgresCheckpointStore:
    """The checkpoint of one shard."""

    def __init__(self, shard_id: ShardId, connections: AsyncConnectionPool[Connection]) -> None:
        self._shard_id = shard_id
        self._connections = connections

    async def load(self) -> SavedBooks:
        """Every book as of the checkpoint. Raises ShardUnavailable."""
        with unavailable_on_error(f"loading the checkpoint of shard {self._shard_id}"):
            async with self._connections.connection() as connection, connection.transaction():
                # One snapshot, since a successor reads this while the owner goes on saving.
                await connection.execute(SQL["read_one_snapshot"])
                ((seq,),) = await self._rows(connection, "select_checkpoint_seq")
                portfolios = await self._rows(connection, "select_portfolio_checkpoints")
                positions = await self._rows(connection, "select_position_checkpoints")
                quarantined = await self._rows(connection, "select_quarantine")
        return _saved(seq, portfolios, positions, quarantined)

    async def load_changed(self, after_seq: int) -> SavedBooks:
        """The books that rows after `after_seq` changed, as of the checkpoint. Raises ShardUnavailable."""
        with unavailable_on_error(f"following the checkpoint of shard {self._shard_id}"):
            async with self._connections.connection() as connection, connection.transaction():
                await connection.execute(SQL["read_one_snapshot"])
                ((seq,),) = await self._rows(connection, "select_checkpoint_seq")
                between = {"after_seq": after_seq, "checkpoint_seq": seq}
                changed = [name for (name,) in await self._rows(connection, "select_changed_portfolios", **between)]
                some = {"portfolio_ids": changed}
                portfolios = await self._rows(connection, "select_some_portfolio_checkpoints", **some)
                positions = await self._rows(connection, "select_some_position_checkpoints", **some)
                quarantined = await self._rows(connection, "select_quarantine")
        return _saved(seq, portfolios, positions, quarantined)

    async def _rows(self, connection: Connection, statement: str, **more: object) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(SQL[statement], {"shard_id": self._shard_id, **more})
        return await cursor.fetchall()

    async def save(self, checkpoint: Checkpoint, epoch: int) -> None:
        """Store a checkpoint, whole or not at all. Raises Deposed or ShardUnavailable."""
        with unavailable_on_error(f"saving the checkpoint of shard {self._shard_id}"):
            async with self._connections.connection() as connection, connection.transaction():
                await self._save_books(connection, checkpoint)
                if checkpoint.released:
                    released = {"portfolio_ids": list(checkpoint.released)}
                    await connection.execute(SQL["delete_quarantine"], released)
                finished = await connection.execute(
                    SQL["finish_checkpoint"],
                    {
                        "shard_id": self._shard_id,
                        "epoch": epoch,
                        "checkpoint_seq": checkpoint.seq,
                        "announced_seq": checkpoint.announced_seq,
                    },
                )
                if finished.rowcount != 1:
                    raise Deposed(f"shard {self._shard_id}: epoch {epoch} no longer owns it")

    async def quarantined(self) -> Mapping[PortfolioId, str]:
        """Why each portfolio of the shard that is in quarantine is there. Raises ShardUnavailable."""
        with unavailable_on_error(f"reading the quarantine of shard {self._shard_id}"):
            async with self._connections.connection() as connection:
                return dict(await self._rows(connection, "select_quarantine"))

    async def set_apart(self, reasons: Mapping[PortfolioId, str], epoch: int) -> None:
        """Put portfolios into quarantine. Raises Deposed or ShardUnavailable."""
        rows = {"portfolio_id": list(reasons), "reason": list(reasons.values())}
        with unavailable_on_error(f"writing the quarantine of shard {self._shard_id}"):
            async with self._connections.connection() as connection:
                parameters = {"shard_id": self._shard_id, "epoch": epoch, **rows}
                written = await connection.execute(SQL["upsert_quarantine"], parameters)
        if written.rowcount != len(reasons):
            raise Deposed(f"shard {self._shard_id}: epoch {epoch} no longer owns it")

    async def _save_books(self, connection: Connection, checkpoint: Checkpoint) -> None:
        if checkpoint.closed:
            portfolio_ids, instrument_ids = zip(*checkpoint.closed, strict=True)
            await connection.execute(
                SQL["delete_closed_positions"],
                {"portfolio_id": text_array(portfolio_ids), "instrument_id": text_array(instrument_ids)},
            )
        books = iter(checkpoint.books)
        while chunk := _chunk(books):
            portfolios = {"shard_id": self._shard_id, **_portfolio_columns(chunk)}
            await connection.execute(SQL["upsert_portfolio_checkpoints"], portfolios)
            await connection.execute(SQL["upsert_position_checkpoints"], _position_columns(chunk))


def _saved(
    seq: int,
    portfolios: Sequence[Sequence[Any]],
    rows: Sequence[Sequence[Any]],
    quarantined: Sequence[tuple[Any, ...]],
) -> SavedBooks:
    held: dict[str, dict[InstrumentId, Position]] = defaultdict(dict)
    for portfolio_id, *columns in rows:
        position = decode_position(columns)
        held[portfolio_id][position.instrument_id] = position
    books: dict[PortfolioId, Book] = {}
    unreadable: dict[PortfolioId, str] = {}
    positions: dict[PortfolioId, frozenset[InstrumentId]] = {}
    for row in portfolios:
        portfolio_id = PortfolioId(row[0])
        positions[portfolio_id] = frozenset(held.get(portfolio_id, ()))
        try:
            books[portfolio_id] = decode_book(row, held.get(portfolio_id, {}))
        except ValueError as error:
            unreadable[portfolio_id] = f"the checkpoint of {portfolio_id} cannot be read: {error}"
    return SavedBooks(seq, books, unreadable, positions, dict(quarantined))


def _chunk(books: Iterator[ValuedBook]) -> list[ValuedBook]:
    """The next books, few enough that turning them into columns holds the loop for about a millisecond."""
    chunk: list[ValuedBook] = []
    positions = 0
    for valued in books:
        chunk.append(valued)
        positions += 1 + len(valued.valuation.positions)
        if positions >= _POSITIONS_PER_STATEMENT:
            break
    return chunk


def _portfolio_columns(books: Sequence[ValuedBook]) -> dict[str, str]:
    held = [valued.book for valued in books]
    return {
        "portfolio_id": text_array(book.portfolio_id for book in held),
        "name": text_array(book.portfolio_name for book in held),
        "base_currency": text_array(book.base_currency for book in held),
        "allow_short": plain_array(book.allow_short for book in held),
        "min_cash": plain_array(book.min_cash for book in held),
        "status": text_array(book.status for book in held),
        "version": plain_array(book.version for book in held),
        "total_value": plain_array(valued.valuation.total_value for valued in books),
        "cash": plain_array(book.cash for book in held),
        "realized_pnl": plain_array(book.realized_pnl for book in held),
        "income": plain_array(book.income for book in held),
        "fees": plain_array(book.fees for book in held),
        "taxes": plain_array(book.taxes for book in held),
        "net_deposits": plain_array(book.net_deposits for book in held),
        "transfers_at_cost": plain_array(book.transfers_at_cost for book in held),
        "created_at": text_array(book.created_at.isoformat() for book in held),
        "updated_at": text_array(book.last_updated.isoformat() for book in held),
    }


def _position_columns(books: Sequence[ValuedBook]) -> dict[str, str]:
    owners: list[str] = []
    valued: list[ValuedPosition] = []
    weights: list[object] = []
    for item in books:
        owners += [item.book.portfolio_id] * len(item.valuation.positions)
        valued += item.valuation.positions
        weights += [item.valuation.weight(position.market_value) for position in item.valuation.positions]
    held = [item.position for item in valued]
    return {
        "portfolio_id": text_array(owners),
        "instrument_id": text_array(position.instrument_id for position in held),
        "position_type": plain_array("LONG" if position.quantity > 0 else "SHORT" for position in held),
        "quantity": plain_array(position.quantity for position in held),
        "cost_basis": plain_array(position.cost_basis for position in held),
        "realized_pnl": plain_array(position.realized_pnl for position in held),
        "trade_mark_price": plain_array(position.trade_mark.price for position in held),
        "trade_mark_time": text_array(position.trade_mark.time.isoformat() for position in held),
        "mark_price": plain_array(item.mark.price for item in valued),
        "market_value": plain_array(item.market_value for item in valued),
        "weight": plain_array(weights),
        "unrealized_pnl": plain_array(item.unrealized_pnl for item in valued),
        "last_updated": text_array(position.last_updated.isoformat() for position in held),
    }


def decode_position(columns: Sequence[Any]) -> Position:
    """A position of select_position_checkpoints, without the portfolio that it is of."""
    instrument_id, quantity, cost_basis, realized_pnl, mark_price, mark_time, last_updated = columns
    return Position(
        instrument_id=ids.shared(instrument_id),
        quantity=quantity,
        cost_basis=cost_basis,
        realized_pnl=realized_pnl,
        trade_mark=Mark(mark_price, mark_time),
        last_updated=last_updated,
    )


def decode_book(row: Sequence[Any], positions: Mapping[InstrumentId, Position]) -> Book:
    """A book of select_portfolio_checkpoints. Raises ValueError for a status that there is not."""
    portfolio_id, name, base_currency, allow_short, min_cash, status, version, cash, *totals = row
    realized_pnl, income, fees, taxes, net_deposits, transfers_at_cost, created_at, last_updated = totals
    return Book(
        portfolio_id=PortfolioId(portfolio_id),
        portfolio_name=name,
        base_currency=Currency(base_currency),
        allow_short=allow_short,
        min_cash=min_cash,
        status=Status(status),
        version=version,
        cash=cash,
        realized_pnl=realized_pnl,
        income=income,
        fees=fees,
        taxes=taxes,
        net_deposits=net_deposits,
        transfers_at_cost=transfers_at_cost,
        positions=positions,
        created_at=created_at,
        last_updated=last_updated,
    )
