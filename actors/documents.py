"""A committed state as JSON: the documents that REST, clients, the mirror and the event stream share.

One definition serves encoding, typed decoding in clients, and the OpenAPI schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, cast

import msgspec
from pydantic import WithJsonSchema

from portfolio.book import Book
from portfolio.moments import written
from portfolio.status import Status
from portfolio.valuation import MarkSource, Valuation

Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_PLAIN_FROM: Final = Decimal("0.000001")


class PositionType(StrEnum):
    LONG = "LONG"
    SHORT = "SHORT"
    CASH = "CASH"


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionDocument:
    """One holding; cash stands under its currency, with a price of 1.

    `average_cost`, `mark_price` and costs are in the base currency, `weight` is a fraction of the total value, and null
    where that is not above zero.
    """

    instrument_id: str
    position_type: PositionType
    quantity: Number
    market_value: Number
    weight: Number | None
    unrealized_pnl: Number
    cost_basis: Number
    average_cost: Number | None
    realized_pnl: Number
    mark_price: Number
    mark_time: datetime
    mark_source: MarkSource
    last_updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDocument:
    """Everything about one portfolio at one version and revaluation."""

    portfolio_id: str
    portfolio_name: str
    base_currency: str
    status: Status
    version: int
    total_value: Number
    cash_balance: Number
    realized_pnl: Number
    unrealized_pnl: Number
    income: Number
    fees: Number
    taxes: Number
    gross_exposure: Number
    net_exposure: Number
    positions: list[PositionDocument]
    weights: dict[str, Number | None]
    last_updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryDocument:
    """One line of the list of portfolios."""

    portfolio_id: str
    portfolio_name: str
    base_currency: str
    status: Status
    version: int
    total_value: Number
    cash_balance: Number
    last_updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPosition:
    """A holding as an event tells it; cash is left out."""

    instrument_id: str
    quantity: Number
    market_value: Number
    weight: Number | None
    unrealized_pnl: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedPortfolio:
    """What an event says of a portfolio."""

    portfolio_id: str
    total_value: Number
    cash_balance: Number
    positions: list[EventPosition]
    last_updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDocument:
    """A portfolio changed. `event_id` is the same for the same portfolio and version, so a repeat can be dropped."""

    event_id: str
    timestamp: datetime
    portfolio_state_updated: UpdatedPortfolio


def to_json(document: object) -> bytes:
    """`document` as JSON, decimals as exact numbers."""
    return _JSON.encode(document)


def summary_document(book: Book, valuation: Valuation) -> SummaryDocument:
    """A valued book in one line."""
    return SummaryDocument(
        portfolio_id=book.portfolio_id,
        portfolio_name=book.portfolio_name,
        base_currency=book.base_currency,
        status=book.status,
        version=book.version,
        total_value=valuation.total_value,
        cash_balance=book.cash,
        last_updated=moment(valuation.last_updated),
    )


def number(quantity: Decimal) -> Decimal:
    """A number of eight decimals as it is to be written: the encoder's own way for 0.00000001 is 1E-8."""
    if abs(quantity) >= _PLAIN_FROM:
        return quantity
    return cast(Decimal, msgspec.Raw(f"{quantity:f}".encode()))


# The positions of a portfolio share few moments, and writing one takes longer than looking it up.
@lru_cache(maxsize=10_000)
def moment(time: datetime) -> datetime:
    """A moment as it is to be written: always with microseconds, always Z."""
    return cast(datetime, written(time))
