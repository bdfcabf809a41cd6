"""What a portfolio holds now, split into what is to be optimised and what is aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from jaxtyping import Float64

from analytics.optimise.request import OptimiseRequest, Others
from analytics.panel import PricePanel, columns_of
from portfolio import money
from portfolio.book import Book, MarkedBook
from portfolio.errors import InvalidRequest, StatusForbids
from portfolio.ids import InstrumentId
from portfolio.status import Status
from portfolio.valuation import Valuation, value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Holdings:
    """A valued portfolio as an optimisation sees it. `prices` are of everything that may be traded, at the newest mark."""

    book: Book
    valuation: Valuation
    universe: tuple[InstrumentId, ...]
    others: tuple[InstrumentId, ...]
    quantities: Mapping[InstrumentId, Decimal]
    prices: Mapping[InstrumentId, Decimal]

    def weights(self, instruments: tuple[InstrumentId, ...]) -> Float64[np.ndarray, " instrument"]:
        """Market values of what is held now as fractions of the total value."""
        values = {one.position.instrument_id: one.market_value for one in self.valuation.positions}
        total = self.valuation.total_value
        return np.array([float(money.divide(values.get(name, money.ZERO_2), total)) for name in instruments])


def holdings(request: OptimiseRequest, marked: MarkedBook, prices: PricePanel) -> Holdings:
    """The portfolio's holdings, and what the request makes of them.

    Raises InvalidRequest or StatusForbids where such a portfolio cannot be traded as asked.
    """
    book = marked.book
    if book.status is not Status.ACTIVE:
        raise StatusForbids(f"the portfolio is {book.status}, expected ACTIVE", status=book.status.value)
    if not request.long_only and not book.allow_short:
        raise InvalidRequest("long_only is false, but the portfolio allows no shorts", field="long_only")
    valuation = value(book, marked.marks)
    if valuation.total_value <= 0:
        raise InvalidRequest(
            f"the portfolio's total value is {valuation.total_value}, expected above 0: weights are fractions of it"
        )
    held = tuple(sorted(book.positions))
    universe = held if request.instruments is None else tuple(map(InstrumentId, request.instruments))
    if not universe:
        raise InvalidRequest("the portfolio holds nothing: name the instruments to choose from", field="instruments")
    marks = {one.position.instrument_id: one.mark.price for one in valuation.positions}
    fresh = {name: _last_close(prices, name) for name in universe if name not in marks}
    others = tuple(name for name in held if name not in set(universe))
    found = {**marks, **fresh}
    _check_prices(found, (*universe, *(others if request.others is Others.SELL else ())))
    return Holdings(
        book=book,
        valuation=valuation,
        universe=universe,
        others=others,
        quantities={name: position.quantity for name, position in book.positions.items()},
        prices=found,
    )


def _last_close(prices: PricePanel, name: InstrumentId) -> Decimal:
    column = columns_of(prices.instruments, [name])[0]
    closes = prices.closes[:, column] if column >= 0 else np.zeros(0)
    known = closes[~np.isnan(closes)]
    # The shortest text that reads as the float is the decimal that was loaded, up to 15 digits.
    return money.round8(Decimal(repr(float(known[-1])))) if len(known) else money.ZERO_8


def _check_prices(prices: Mapping[InstrumentId, Decimal], wanted: tuple[InstrumentId, ...]) -> None:
    for name in wanted:
        if prices[name] <= 0:
            raise InvalidRequest(f"{name} has no price above 0 to trade at", field="instruments", instrument_id=name)
