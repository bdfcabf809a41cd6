"""A book's documents as bytes, put together from parts: what a change leaves as it was is not written again.

A transaction changes one position of many. Of the others only the weight changes, so everything else of them is kept as
it was written, and a document is a joining of pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from actors.documents import (
    EventDocument,
    EventPosition,
    PositionDocument,
    PositionType,
    StateDocument,
    UpdatedPortfolio,
    moment,
    number,
    to_json,
)
from portfolio import money
from portfolio.book import Book, Mark
from portfolio.entries import derived_id
from portfolio.ids import InstrumentId
from portfolio.valuation import MarkSource, ValuedPosition, total, value_position

_OPEN: Final[Any] = msgspec.Raw(b"\x00")
"""Stands where something is filled in later: no JSON has such a byte."""
_ONE: Final = Decimal("1.000000")
_NULL: Final = b"null"


class _Parts(msgspec.Struct):
    positions: msgspec.Raw
    weights: msgspec.Raw


_PARTS: Final = msgspec.json.Decoder(_Parts)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A portfolio's documents at one version and revaluation, as bytes that are passed on unread.

    Positions and weights stand in the state; `places` says where each begins and ends.
    """

    version: int
    revaluation: int
    state: bytes
    places: tuple[int, int, int, int]

    @classmethod
    def of_state(cls, version: int, revaluation: int, state: bytes) -> Encoded:
        """The documents that stand in a state. Raises msgspec.DecodeError."""
        parts = _PARTS.decode(state)
        positions, weights = bytes(parts.positions), bytes(parts.weights)
        first = state.index(positions)
        third = state.index(weights, first + len(positions))
        return cls(version, revaluation, state, (first, first + len(positions), third, third + len(weights)))

    @property
    def positions(self) -> bytes:
        """The positions alone."""
        return self.state[self.places[0] : self.places[1]]

    @property
    def weights(self) -> bytes:
        """The weights alone."""
        return self.state[self.places[2] : self.places[3]]

    @property
    def etag(self) -> str:
        """The entity tag of any answer with this state: `"<version>.<revaluation>"`, quotes included."""
        return f'"{self.version}.{self.revaluation}"'


class _Part:
    """A position at its mark, written, once asked for, in front of its weight and behind."""

    __slots__ = ("_event", "_state", "market", "valued")

    def __init__(self, valued: ValuedPosition, market: Mark | None) -> None:
        self.valued = valued
        self.market = market
        self._state: list[bytes] | None = None
        self._event: list[bytes] | None = None

    @property
    def state(self) -> list[bytes]:
        """The position as the state has it; then its name, as the weights have it."""
        if self._state is None:
            document = to_json(_position(self.valued)).split(b"\x00")
            self._state = [*document, to_json(self.valued.position.instrument_id) + b":"]
        return self._state

    @property
    def event(self) -> list[bytes]:
        """The position as an event tells it."""
        if self._event is None:
            self._event = to_json(_event_position(self.valued)).split(b"\x00")
        return self._event


class Rendering:
    """A book valued at `marks`, and its documents; parts of an earlier rendering of the same portfolio are used again."""

    def __init__(self, book: Book, marks: Mapping[InstrumentId, Mark], before: Rendering | None = None) -> None:
        self.book = book
        known = before._parts if before is not None else {}
        self._parts: dict[InstrumentId, _Part] = {}
        for name in sorted(book.positions):
            position, market, part = book.positions[name], marks.get(name), known.get(name)
            # Positions and marks are never changed, only replaced.
            if part is None or part.valued.position is not position or part.market is not market:
                part = _Part(value_position(position, market), market)
            self._parts[name] = part
        self.valuation = total(book, [part.valued for part in self._parts.values()])
        self._weights = [self._weight(item.market_value) for item in self.valuation.positions]
        self._cash_weight = self._weight(book.cash)
        self._encoded: Encoded | None = None

    def is_at(self, marks: Mapping[InstrumentId, Mark]) -> bool:
        """Whether every position is valued at its mark among these."""
        return all(part.market is marks.get(name) for name, part in self._parts.items())

    def encoded(self) -> Encoded:
        """The documents of the state, written when first asked for."""
        if self._encoded is None:
            self._encoded = self._written()
        return self._encoded

    def _written(self) -> Encoded:
        cash_head, cash_tail = to_json(_cash_position(self.book)).split(b"\x00")
        items: list[bytes] = []
        named: list[bytes] = []
        for part, weight in self._weighed():
            head, tail, name = part.state
            items.append(head + weight + tail)
            named.append(name + weight)
        positions = b"[%b]" % b",".join([*items, cash_head + self._cash_weight + cash_tail])
        named.append(to_json(self.book.base_currency) + b":" + self._cash_weight)
        weights = b"{%b}" % b",".join(named)
        before, between, after = to_json(self._state()).split(b"\x00")
        first, third = len(before), len(before) + len(positions) + len(between)
        return Encoded(
            version=self.book.version,
            revaluation=self.valuation.revaluation,
            state=b"".join((before, positions, between, weights, after)),
            places=(first, first + len(positions), third, third + len(weights)),
        )

    def event(self, committed_at: datetime) -> bytes:
        """What the stream says once the book is committed; cash is left out of its positions."""
        before, after = to_json(self._updated(committed_at)).split(b"\x00")
        items = [weight.join(part.event) for part, weight in self._weighed()]
        return b"%b[%b]%b" % (before, b",".join(items), after)

    def _weighed(self) -> zip[tuple[_Part, bytes]]:
        return zip(self._parts.values(), self._weights, strict=True)

    def _weight(self, value: Decimal) -> bytes:
        weight = self.valuation.weight(value)
        # Six decimals are never written with an exponent.
        return _NULL if weight is None else str(weight).encode()

    def _state(self) -> StateDocument:
        book, valuation = self.book, self.valuation
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
            positions=_OPEN,
            weights=_OPEN,
            last_updated=moment(valuation.last_updated),
        )

    def _updated(self, committed_at: datetime) -> EventDocument:
        book, valuation = self.book, self.valuation
        return EventDocument(
            event_id=str(derived_id(book.portfolio_id, book.version)),
            timestamp=moment(committed_at),
            portfolio_state_updated=UpdatedPortfolio(
                portfolio_id=book.portfolio_id,
                total_value=valuation.total_value,
                cash_balance=book.cash,
                positions=_OPEN,
                last_updated=moment(valuation.last_updated),
            ),
        )


def encode(book: Book, marks: Mapping[InstrumentId, Mark]) -> Encoded:
    """The documents of `book`, valued at `marks`."""
    return Rendering(book, marks).encoded()


def _position(item: ValuedPosition) -> PositionDocument:
    held = item.position
    return PositionDocument(
        instrument_id=held.instrument_id,
        position_type=PositionType.LONG if held.quantity > 0 else PositionType.SHORT,
        quantity=number(held.quantity),
        market_value=item.market_value,
        weight=_OPEN,
        unrealized_pnl=item.unrealized_pnl,
        cost_basis=held.cost_basis,
        average_cost=money.round6(money.divide(held.cost_basis, held.quantity)),
        realized_pnl=held.realized_pnl,
        mark_price=number(item.mark.price),
        mark_time=moment(item.mark.time),
        mark_source=item.source,
        last_updated=moment(held.last_updated),
    )


def _event_position(item: ValuedPosition) -> EventPosition:
    return EventPosition(
        instrument_id=item.position.instrument_id,
        quantity=number(item.position.quantity),
        market_value=item.market_value,
        weight=_OPEN,
        unrealized_pnl=item.unrealized_pnl,
    )


def _cash_position(book: Book) -> PositionDocument:
    updated = moment(book.last_updated)
    return PositionDocument(
        instrument_id=book.base_currency,
        position_type=PositionType.CASH,
        quantity=book.cash,
        market_value=book.cash,
        weight=_OPEN,
        unrealized_pnl=money.ZERO_2,
        cost_basis=money.add(book.cash, money.ZERO_6),
        average_cost=_ONE,
        realized_pnl=money.ZERO_6,
        mark_price=_ONE,
        mark_time=updated,
        mark_source=MarkSource.TRADE,
        last_updated=updated,
    )
