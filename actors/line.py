"""The order of the updates of one call: what is turned away for a moment must not be overtaken by what came after it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from portfolio.errors import ShardUnavailable
from portfolio.ids import PortfolioId


class Line:
    """The updates of one call, in the order given; each portfolio's are one after the other."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.turned_away: dict[PortfolioId, int] = {}
        """The first of each portfolio that was turned away."""

    def place(self, portfolio_id: PortfolioId) -> Place:
        """The next place, for an update of a portfolio."""
        return Place(self, portfolio_id, next(self._numbers))


@dataclass(frozen=True, slots=True)
class Place:
    """Where an update stands in its line."""

    line: Line
    portfolio_id: PortfolioId
    number: int

    def turn_away(self) -> None:
        """Nothing of its portfolio that stands behind it is booked from now on; what stands before it may be."""
        first = self.line.turned_away.get(self.portfolio_id, self.number)
        self.line.turned_away[self.portfolio_id] = min(first, self.number)

    @property
    def is_overtaking(self) -> bool:
        """Whether it would be booked before one of its portfolio that was turned away, which is tried again."""
        return self.line.turned_away.get(self.portfolio_id, self.number) < self.number


def behind(portfolio_id: str) -> ShardUnavailable:
    """Why what stands behind one that was turned away is not booked either."""
    return ShardUnavailable(f"an update of {portfolio_id} before this one in the same call was not booked")
