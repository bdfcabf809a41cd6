"""What today's holdings would have made in a time gone by, or would make if prices moved as given.

A scenario is a simple return for each instrument. Holdings are held, not rebalanced: a portfolio's return is the sum of its
weights times the instruments' returns, and cash returns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import NDArray

from analytics.jax_setup import jax, jnp

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]


class ScenarioKind(StrEnum):
    HISTORICAL = "historical"
    SHOCK = "shock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`returns`: [instrument], NaN where the instrument has no price at either end. `start` and `end` are None for shocks."""

    name: str
    kind: ScenarioKind
    start: date | None = None
    end: date | None = None
    returns: Floats


WINDOWS: Final[Mapping[str, tuple[date, date]]] = {
    "global_financial_crisis": (date(2007, 10, 9), date(2009, 3, 9)),
    "euro_crisis_2011": (date(2011, 7, 22), date(2011, 10, 3)),
    "volatility_shock_2018": (date(2018, 1, 26), date(2018, 2, 8)),
    "fourth_quarter_2018": (date(2018, 9, 20), date(2018, 12, 24)),
    "covid_crash_2020": (date(2020, 2, 19), date(2020, 3, 23)),
    "bear_market_2022": (date(2022, 1, 3), date(2022, 10, 12)),
}
"""From the S&P 500's closing high to its closing low."""

WORST_LENGTHS: Final = (1, 5, 21)
"""Days of the worst windows that are looked for in a panel: a day, a week, a month."""


def historical(name: str, start: date, end: date, *, days: Days, prices: Floats) -> Scenario | None:
    """The move between two closes, each the panel's last on or before its day; None if the panel does not reach so far back.

    `prices`: [day, instrument], adjusted for splits, NaN where there is none.
    """
    first, last = (int(np.searchsorted(days, np.datetime64(day), side="right")) - 1 for day in (start, end))
    # A panel that ends before the window does would show a part of it under the name of the whole.
    if first < 0 or last <= first or days[-1] < np.datetime64(end):
        return None
    return _between(name, first, last, days, prices)


def known_windows(days: Days, prices: Floats) -> list[Scenario]:
    """Those of `WINDOWS` that the panel covers."""
    found = (historical(name, start, end, days=days, prices=prices) for name, (start, end) in WINDOWS.items())
    return [scenario for scenario in found if scenario is not None]


def worst_windows(days: Days, prices: Floats, reference: Floats) -> list[Scenario]:
    """The windows of `WORST_LENGTHS` days in which `reference`, [day] of prices (an index), fell most; NaN where it has none."""
    found = []
    for length in WORST_LENGTHS:
        if len(reference) <= length:
            continue
        moves = reference[length:] / reference[:-length] - 1
        if np.isnan(moves).all():
            continue
        first = int(np.nanargmin(moves))
        name = "worst_day" if length == 1 else f"worst_{length}_days"
        found.append(_between(name, first, first + length, days, prices))
    return found


def shock(name: str, instruments: Sequence[str], shocks: Mapping[str, float], everything_else: float = 0.0) -> Scenario:
    """Prices moved by `shocks`, as fractions by instrument, and all others by the same. -0.2 takes a fifth off."""
    returns = np.array([shocks.get(instrument, everything_else) for instrument in instruments], dtype=np.float64)
    return Scenario(name=name, kind=ScenarioKind.SHOCK, returns=returns)


@jax.jit
def stressed(
    weights: Float[Array, "portfolio instrument"], scenarios: Float[Array, "scenario instrument"]
) -> tuple[Float[Array, "portfolio scenario"], Bool[Array, "portfolio scenario"]]:
    """Returns, and whether all that a portfolio holds has one (NaN tells what has not)."""
    unknown = jnp.isnan(scenarios)
    held = (weights != 0).astype(weights.dtype)
    lacking = held @ unknown.astype(weights.dtype).T > 0
    return weights @ jnp.where(unknown, 0.0, scenarios).T, ~lacking


def _between(name: str, first: int, last: int, days: Days, prices: Floats) -> Scenario:
    return Scenario(
        name=name,
        kind=ScenarioKind.HISTORICAL,
        start=days[first].astype(date),
        end=days[last].astype(date),
        returns=prices[last] / prices[first] - 1,
    )
