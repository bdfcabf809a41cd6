"""The scenarios of stress figures: falls of the past that the prices reach back to, and falls of all prices alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from analytics.document import StressDocument
from analytics.figures import Figures
from analytics.jax_setup import jnp
from analytics.panel import PricePanel, columns_of
from analytics.reasons import Reason
from analytics.shapes import bucket, padded
from analytics.stress import Scenario, known_windows, shock, stressed, worst_windows
from portfolio.ids import InstrumentId

SHOCKS: Final = {"all_prices_down_10": -0.1, "all_prices_down_20": -0.2, "all_prices_down_30": -0.3}
"""By how much all prices move at once."""


def scenarios(panel: PricePanel, instruments: Sequence[InstrumentId], benchmark: str | None) -> list[Scenario]:
    """What these instruments did in each. The worst days are the benchmark's; without one there are none."""
    prices = _columns(panel, instruments)
    found = known_windows(panel.days, prices)
    if benchmark is not None:
        found += worst_windows(panel.days, prices, _columns(panel, [InstrumentId(benchmark)])[:, 0])
    return found + [shock(name, instruments, {}, move) for name, move in SHOCKS.items()]


def _columns(panel: PricePanel, instruments: Sequence[InstrumentId]) -> Float64[np.ndarray, "day instrument"]:
    places = columns_of(panel.instruments, instruments)
    prices = np.full((len(panel.days), len(places)), np.nan)
    prices[:, places >= 0] = panel.adjusted[:, places[places >= 0]]
    return prices


def under_stress(
    weights: Float64[np.ndarray, "portfolio instrument"], played: Sequence[Scenario]
) -> tuple[Float64[np.ndarray, "portfolio scenario"], Bool[np.ndarray, "portfolio scenario"]]:
    """Returns of portfolios in scenarios, and whether all that they hold has a price in them."""
    instruments = bucket(weights.shape[1])
    moves = padded(np.stack([scenario.returns for scenario in played]), (bucket(len(played)), instruments))
    returns, is_known = stressed(jnp.asarray(padded(weights, (bucket(len(weights)), instruments))), jnp.asarray(moves))
    kept = (slice(len(weights)), slice(len(played)))
    return np.asarray(returns)[kept], np.asarray(is_known)[kept]


def document(
    figures: Figures, scenario: Scenario, portfolio_return: float, total_value: float, reason: Reason
) -> StressDocument:
    """One portfolio in one scenario."""
    path = f"stress.{scenario.name}"
    return StressDocument(
        name=scenario.name,
        kind=scenario.kind,
        start=scenario.start,
        end=scenario.end,
        portfolio_return=figures.number(f"{path}.portfolio_return", portfolio_return, reason),
        profit_and_loss=figures.number(f"{path}.profit_and_loss", portfolio_return * total_value, reason),
    )
