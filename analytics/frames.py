"""Books, journal and prices as Polars frames with exact decimals, and the one place where these become float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float64

from portfolio import money
from portfolio.book import Book, MarkedBook
from portfolio.entries import Booked, Entry
from portfolio.valuation import Valuation, value

# Widths as in the database: what is booked is bounded, while a value at a market's price and its weight may be larger.
_QUANTITY: Final = pl.Decimal(28, money.QUANTITY_SCALE)
_PRICE: Final = pl.Decimal(28, money.PRICE_SCALE)
_CASH: Final = pl.Decimal(24, money.CASH_SCALE)
_COST: Final = pl.Decimal(24, money.COST_SCALE)
_VALUE: Final = pl.Decimal(38, money.CASH_SCALE)
_WEIGHT: Final = pl.Decimal(38, money.WEIGHT_SCALE)
_MOMENT: Final = pl.Datetime("us", "UTC")

PORTFOLIOS: Final = pl.Schema(
    {
        "portfolio_id": pl.String(),
        "portfolio_name": pl.String(),
        "base_currency": pl.String(),
        "status": pl.String(),
        "version": pl.Int64(),
        "as_of": _MOMENT,
        "total_value": _VALUE,
        "cash_balance": _CASH,
        "cash_weight": _WEIGHT,
        "gross_exposure": _VALUE,
        "net_exposure": _VALUE,
        "realized_pnl": _COST,
        "unrealized_pnl": _VALUE,
        "income": _CASH,
        "fees": _CASH,
        "taxes": _CASH,
        "net_deposits": _CASH,
        "transfers_at_cost": _COST,
    }
)
POSITIONS: Final = pl.Schema(
    {
        "portfolio_id": pl.String(),
        "version": pl.Int64(),
        "as_of": _MOMENT,
        "instrument_id": pl.String(),
        "position_type": pl.String(),
        "quantity": _QUANTITY,
        "mark_price": _PRICE,
        "mark_time": _MOMENT,
        "mark_source": pl.String(),
        "market_value": _VALUE,
        "weight": _WEIGHT,
        "cost_basis": _COST,
        "unrealized_pnl": _VALUE,
        "realized_pnl": _COST,
        "last_updated": _MOMENT,
    }
)
TRANSACTIONS: Final = pl.Schema(
    {
        "portfolio_id": pl.String(),
        "version": pl.Int64(),
        "transaction_id": pl.String(),
        "instrument_id": pl.String(),
        "transaction_type": pl.String(),
        "quantity": _QUANTITY,
        "price": _PRICE,
        "transaction_value": _CASH,
        "fee": _CASH,
        "transaction_date": _MOMENT,
        "recorded_at": _MOMENT,
    }
)
PRICES: Final = pl.Schema(
    {"instrument_id": pl.String(), "price_date": pl.Date(), "close": _PRICE, "adjusted_close": _PRICE}
)
HISTORY: Final = pl.Schema(
    {
        "portfolio_id": pl.String(),
        "day": pl.Date(),
        "value": pl.Float64(),
        "inflow": pl.Float64(),
        "outflow": pl.Float64(),
        "carried": pl.Boolean(),
    }
)

_FLOAT_WHOLE: Final = 2**53
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class BookFrames:
    """Books at their marks: a row a portfolio, and a row a position (cash is none), ordered by portfolio as given."""

    portfolios: pl.DataFrame
    positions: pl.DataFrame


def book_frames(books: Iterable[MarkedBook]) -> BookFrames:
    """What the state documents of these books say, under the names that they use, in PORTFOLIOS and POSITIONS."""
    portfolios: list[_Row] = []
    positions: list[_Row] = []
    for marked in books:
        valuation = value(marked.book, marked.marks)
        portfolios.append(_portfolio(marked.book, valuation))
        positions.extend(_positions(marked.book, valuation))
    return BookFrames(
        pl.DataFrame(portfolios, schema=PORTFOLIOS, orient="row"),
        pl.DataFrame(positions, schema=POSITIONS, orient="row"),
    )


def transactions(entries: Iterable[Entry]) -> pl.DataFrame:
    """The transactions among journal entries, in their order, as TRANSACTIONS says."""
    rows = [_transaction(entry) for entry in entries if isinstance(entry, Booked)]
    return pl.DataFrame(rows, schema=TRANSACTIONS, orient="row")


def transactions_of_text(csv: bytes) -> pl.DataFrame:
    """Transactions from CSV without a header, in the order of the columns of TRANSACTIONS.

    Moments stand there as microseconds since 1970.
    """
    moments = [name for name, kind in TRANSACTIONS.items() if kind == _MOMENT]
    written = pl.Schema({**TRANSACTIONS, **dict.fromkeys(moments, pl.Int64())})
    return pl.read_csv(csv, has_header=False, schema=written).with_columns(pl.col(moments).cast(_MOMENT))


def prices(csv: bytes) -> pl.DataFrame:
    """Daily prices from CSV below a header, in the order of the columns of PRICES."""
    return pl.read_csv(csv, schema=PRICES)


def float64(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with a float64 of the same first sixteen digits in place of every decimal."""
    return frame.with_columns(pl.selectors.decimal().cast(pl.Float64))


def from_cents(cents: np.ndarray) -> Float64[np.ndarray, " amount"]:
    """Amounts in the base currency, each the float64 that is nearest to its cents; these are int64 or Python's integers."""
    # A float64 holds whole numbers below 2^53, and one division rounds once. Python divides larger ones as exactly.
    is_small = np.abs(cents).max(initial=0) < _FLOAT_WHOLE
    amounts: np.ndarray = (cents if is_small else cents.astype(object)) / 100
    return amounts.astype(np.float64)


def _portfolio(book: Book, valuation: Valuation) -> _Row:
    return (
        book.portfolio_id,
        book.portfolio_name,
        book.base_currency,
        book.status,
        book.version,
        valuation.last_updated,
        valuation.total_value,
        book.cash,
        valuation.weight(book.cash),
        valuation.gross_exposure,
        valuation.net_exposure,
        book.realized_pnl,
        valuation.unrealized_pnl,
        book.income,
        book.fees,
        book.taxes,
        book.net_deposits,
        book.transfers_at_cost,
    )


def _positions(book: Book, valuation: Valuation) -> Iterator[_Row]:
    for position, mark, source, market_value, unrealized_pnl in valuation.positions:
        yield (
            book.portfolio_id,
            book.version,
            valuation.last_updated,
            position.instrument_id,
            "LONG" if position.quantity > 0 else "SHORT",
            position.quantity,
            mark.price,
            mark.time,
            source,
            market_value,
            valuation.weight(market_value),
            position.cost_basis,
            unrealized_pnl,
            position.realized_pnl,
            position.last_updated,
        )


def _transaction(entry: Booked) -> _Row:
    return (
        entry.portfolio_id,
        entry.version,
        str(entry.transaction_id),
        entry.instrument_id,
        entry.transaction_type,
        entry.quantity,
        entry.price,
        entry.value,
        entry.fee,
        entry.effective_at,
        entry.recorded_at,
    )
