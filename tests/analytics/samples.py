"""What the kernels are shown: the sample's real closes, random returns, and books of random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CLOSES = Path(__file__).parents[2] / "examples" / "sp500_closes.parquet"


@cache
def real_prices() -> tuple[NDArray[np.datetime64], tuple[str, ...], Floats]:
    """Days, instruments and closes, [day, instrument], of twenty shares over five years."""
    closes = pl.read_parquet(_CLOSES).pivot(on="instrument_id", index="date", values="close").sort("date")
    table = closes.drop("date")
    return closes["date"].to_numpy(), tuple(table.columns), table.cast(pl.Float64).to_numpy()


def real_returns(window: int | None = None) -> Floats:
    """Simple daily returns, [day, instrument]; the last `window` of them."""
    _, _, closes = real_prices()
    returns = closes[1:] / closes[:-1] - 1
    return returns if window is None else returns[-window:]


def random_returns(days: int, instruments: int, *, seed: int) -> Floats:
    """With a common factor and fat tails, as shares have them."""
    chance = np.random.default_rng(seed)
    market = chance.standard_t(4, size=(days, 1)) * 0.008
    own = chance.standard_t(4, size=(days, instruments)) * 0.012
    return np.asarray(0.0003 + market * chance.uniform(0.3, 1.7, instruments) + own)


def random_weights(portfolios: int, instruments: int, *, seed: int, held: float = 0.6) -> Floats:
    """Long and short, some not held, a part in cash."""
    chance = np.random.default_rng(seed)
    weights = chance.normal(0.02, 0.05, size=(portfolios, instruments))
    weights[chance.random((portfolios, instruments)) > held] = 0.0
    weights[:, 0] = 0.1
    return np.asarray(weights)


def assert_close(actual: Any, expected: Any, *, rtol: float = 1e-10, atol: float = 1e-14, what: str = "") -> None:
    """Element by element; NaN is close to NaN."""
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol, err_msg=what)
