"""The state of one portfolio, as an immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from portfolio.ids import Currency, InstrumentId, PortfolioId
from portfolio.status import Status


@dataclass(frozen=True, slots=True)
class Mark:
    """A price per unit, and the moment it holds from."""

    price: Decimal
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a portfolio holds of one instrument. A short has a quantity and a cost below 0; none is ever flat.

    `trade_mark` is the price of the latest trade; a market mark with a later time takes its place in valuations.
    """

    instrument_id: InstrumentId
    quantity: Decimal
    cost_basis: Decimal
    realized_pnl: Decimal
    trade_mark: Mark
    last_updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Everything that the entries of one portfolio add up to.

    `fees` and `taxes` are totals paid; `net_deposits` and `transfers_at_cost` the external flows that came in.
    """

    portfolio_id: PortfolioId
    portfolio_name: str
    base_currency: Currency
    allow_short: bool
    min_cash: Decimal | None
    status: Status
    version: int
    cash: Decimal
    realized_pnl: Decimal
    income: Decimal
    fees: Decimal
    taxes: Decimal
    net_deposits: Decimal
    transfers_at_cost: Decimal
    positions: Mapping[InstrumentId, Position]
    created_at: datetime
    last_updated: datetime


@dataclass(frozen=True, slots=True)
class MarkedBook:
    """A book, and the market marks known of what it holds, all of one moment."""

    book: Book
    marks: Mapping[InstrumentId, Mark]
