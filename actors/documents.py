"""A committed state as JSON: the documents that REST, clients, the mirror and the event stream share.

One definition serves encoding, typed decoding in clients, and the OpenAPI schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, cast

import msgspec
from pydantic import WithJsonSchema

from portfolio import money
from portfolio.book import Book, Mark
from portfolio.entries import derived_id
from portfolio.ids import InstrumentId
from portfolio.status import Status
from portfolio.valuation import MarkSource, Valuation, ValuedPosition, value

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


@dataclass(frozen=True, slots=True)
class Encoded:
    """A portfolio's documents at one version and revaluation, as bytes that are passed on unread."""

    version: int
    revaluation: int
    state: bytes
    positions: bytes
    weights: bytes

    @property
    def etag(self) -> str:
        """The entity tag of any answer with this state: `"<version>.<revaluation>"`, quotes included."""
        return f'"{self.version}.{self.revaluation}"'


def encode(book: Book, marks: Mapping[InstrumentId, Mark]) -> Encoded:
    """The documents of `book`, valued at `marks`."""
    valuation = value(book, marks)
    state = state_document(book, valuation)
    positions, weights = to_json(state.positions), to_json(state.weights)
    # Both stand in the state too: what is encoded once is put there as it is.
    whole = replace(state, positions=_as_it_is(positions), weights=_as_it_is(weights))
    return Encoded(
        version=book.version,
        revaluation=valuation.revaluation,
        state=to_json(whole),
        positions=positions,
        weights=weights,
    )


def _as_it_is(encoded: bytes) -> Any:
    """Encoded JSON, in the place of what it was made of."""
    return msgspec.Raw(encoded)


def to_json(document: object) -> bytes:
    """`document` as JSON, decimals as exact numbers."""
    return _JSON.encode(document)


def state_document(book: Book, valuation: Valuation) -> StateDocument:
    """The full document of a valued book; positions by instrument, cash last."""
    positions = [_position(item, valuation) for item in valuation.positions]
    positions.append(_cash_position(book, valuation))
    return StateDocument(
        portfolio_id=book.portfolio_id,
        portfolio_name=book.portfolio_name,
        base_currency=book.base_currency,
        status=book.status,
        version=book.version,
        total_value=valuation.total_value,
        cash_balance=book.cash,
        realized_pnl=book.realized_pnl,
        unrealized_pnl=valuation.unrealized_pnl,
        income=book.income,
        fees=book.fees,
        taxes=book.taxes,
        gross_exposure=valuation.gross_exposure,
        net_exposure=valuation.net_exposure,
        positions=positions,
        weights={position.instrument_id: position.weight for position in positions},
        last_updated=moment(valuation.last_updated),
    )


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


def event_document(book: Book, valuation: Valuation, timestamp: datetime) -> EventDocument:
    """What the stream says once `book` is committed."""
    return EventDocument(
        event_id=str(derived_id(book.portfolio_id, book.version)),
        timestamp=moment(timestamp),
        portfolio_state_updated=UpdatedPortfolio(
            portfolio_id=book.portfolio_id,
            total_value=valuation.total_value,
            cash_balance=book.cash,
            positions=[
                EventPosition(
                    instrument_id=item.position.instrument_id,
                    quantity=number(item.position.quantity),
                    market_value=item.market_value,
                    weight=valuation.weight(item.market_value),
                    unrealized_pnl=item.unrealized_pnl,
                )
                for item in valuation.positions
            ],
            last_updated=moment(valuation.last_updated),
        ),
    )


def _position(item: ValuedPosition, valuation: Valuation) -> PositionDocument:
    held = item.position
    return PositionDocument(
        instrument_id=held.instrument_id,
        position_type=PositionType.LONG if held.quantity > 0 else PositionType.SHORT,
        quantity=number(held.quantity),
        market_value=item.market_value,
        weight=valuation.weight(item.market_value),
        unrealized_pnl=item.unrealized_pnl,
        cost_basis=held.cost_basis,
        average_cost=money.round6(money.divide(held.cost_basis, held.quantity)),
        realized_pnl=held.realized_pnl,
        mark_price=number(item.mark.price),
        mark_time=moment(item.mark.time),
        mark_source=item.source,
        last_updated=moment(held.last_updated),
    )


def _cash_position(book: Book, valuation: Valuation) -> PositionDocument:
    updated = moment(book.last_updated)
    return PositionDocument(
        instrument_id=book.base_currency,
        position_type=PositionType.CASH,
        quantity=book.cash,
        market_value=book.cash,
        weight=valuation.weight(book.cash),
        unrealized_pnl=money.ZERO_2,
        cost_basis=money.add(book.cash, money.ZERO_6),
        average_cost=_ONE,
        realized_pnl=money.ZERO_6,
        mark_price=_ONE,
        mark_time=updated,
        mark_source=MarkSource.TRADE,
        last_updated=updated,
    )


_ONE: Final = Decimal("1.000000")


def number(quantity: Decimal) -> Decimal:
    """A number of eight decimals as it is to be written: the encoder's own way for 0.00000001 is 1E-8."""
    if abs(quantity) >= _PLAIN_FROM:
        return quantity
    return cast(Decimal, msgspec.Raw(f"{quantity:f}".encode()))


# The positions of a portfolio share few moments, and writing one takes longer than looking it up.
@lru_cache(maxsize=10_000)
def moment(time: datetime) -> datetime:
    """A moment as it is to be written: always with microseconds, always Z."""
    return cast(datetime, time.isoformat(timespec="microseconds").replace("+00:00", "Z"))
