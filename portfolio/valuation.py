"""What a book is worth at the marks known: values, weights and totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from portfolio import money
from portfolio.book import Book, Mark, Position
from portfolio.ids import InstrumentId

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class MarkSource(StrEnum):
    TRADE = "trade"
    MARKET = "market"


class ValuedPosition(NamedTuple):
    """A position at its mark. A tuple, because valuing makes one for every position each time."""

    position: Position
    mark: Mark
    source: MarkSource
    market_value: Decimal
    unrealized_pnl: Decimal


@dataclass(frozen=True, slots=True)
class Valuation:
    """A book's figures in its base currency, its positions ordered by instrument.

    `revaluation` grows with every market mark that shows in it, and is the same for the same book and marks anywhere:
    the sum, in microseconds, of the times of those marks.
    """

    positions: tuple[ValuedPosition, ...]
    total_value: Decimal
    gross_exposure: Decimal
    net_exposure: Decimal
    unrealized_pnl: Decimal
    revaluation: int
    last_updated: datetime

    def weight(self, value: Decimal) -> Decimal | None:
        """`value` as a fraction of the total value; None where that is not above zero."""
        return money.round6(money.divide(value, self.total_value)) if self.total_value > 0 else None


def value(book: Book, marks: Mapping[InstrumentId, Mark]) -> Valuation:
    """The book at the latest of each instrument's trade and market marks."""
    return total(book, [value_position(book.positions[name], marks.get(name)) for name in sorted(book.positions)])


def value_position(position: Position, market: Mark | None) -> ValuedPosition:
    """A position at the later of its trade's mark and the market's; the trade wins at the same moment."""
    mark, source = position.trade_mark, MarkSource.TRADE
    if market is not None and market.time > mark.time:
        mark, source = market, MarkSource.MARKET
    market_value = money.round2(money.multiply(position.quantity, mark.price))
    unrealized = money.round2(money.add(market_value, -position.cost_basis))
    return ValuedPosition(position, mark, source, market_value, unrealized)


def total(book: Book, valued: Iterable[ValuedPosition]) -> Valuation:
    """What the book adds up to, its positions having been valued, in the order of their instruments."""
    positions = tuple(valued)
    gross = net = unrealized = money.ZERO_2
    revaluation = 0
    last_updated = book.last_updated
    for _, mark, source, market_value, position_unrealized in positions:
        net = money.add(net, market_value)
        gross = money.add(gross, abs(market_value))
        unrealized = money.add(unrealized, position_unrealized)
        if source is MarkSource.MARKET:
            revaluation += microseconds(mark.time)
            last_updated = max(last_updated, mark.time)
    return Valuation(
        positions=positions,
        total_value=money.add(book.cash, net),
        gross_exposure=gross,
        net_exposure=net,
        unrealized_pnl=unrealized,
        revaluation=revaluation,
        last_updated=last_updated,
    )


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970, exactly (a float timestamp would not be)."""
    return (moment - _EPOCH) // _MICROSECOND
