"""Long-only minimum variance of 50 assets, a thousand times: the batched solver beside others, one problem after the other.

Each library is called in the way that costs it least: Clarabel through its native API, with matrices that were made sparse
before the clock starts; PyPortfolioOpt and skfolio, which build a problem for each call, on fewer problems. All find the
same weights, which is checked. Rounds alternate between the solvers, and CPU time is beside the clock's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import clarabel
import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from analytics.optimise.interior_point import Solved
from analytics.optimise.program import Program
from analytics.optimise.solving import solve
from benchmarks.effort import Effort
from benchmarks.results import Line, Section

Floats = NDArray[np.float64]

PROBLEMS: Final = 1_000
ASSETS: Final = 50
DAYS: Final = 504
FEW: Final = 20
"""Problems for libraries that take milliseconds for each."""
_CLOSES: Final = Path(__file__).parents[1] / "examples" / "sp500_closes.parquet"


def measure(effort: Effort) -> Section:
    """The section "optimise"."""
    section = Section("optimise")
    returns = market_returns()
    covariances = np.array([np.cov(one.T) * 252 for one in returns])
    programs = long_only(covariances)
    theirs = [_clarabel_problem(covariance) for covariance in covariances]
    # Compiles, and imports.
    solve(programs)
    _solved_by_pypfopt(covariances[0])
    _solved_by_skfolio(returns[0])
    for _ in range(effort.rounds):
        found = _timed(section, "batch", PROBLEMS, lambda: solve(programs))
        loop = _timed(section, "clarabel", PROBLEMS, lambda: [_solved_by_clarabel(one) for one in theirs])
        warm = found
        _timed(section, "batch, warm start", PROBLEMS, lambda: solve(programs, near=warm.point.x))  # noqa: B023 - called at once
        _timed(section, "pypfopt", FEW, lambda: [_solved_by_pypfopt(one) for one in covariances[:FEW]])
        _timed(section, "skfolio", FEW, lambda: [_solved_by_skfolio(one) for one in returns[:FEW]])
        _check(covariances, found, loop)
    section.lines += _lines(section)
    return section


def market_returns() -> Floats:
    """Daily returns, [problem, day, asset]: real windows of twenty shares, scaled and with noise so that fifty are not alike."""
    closes = pl.read_parquet(_CLOSES).pivot(on="instrument_id", index="date", values="close").sort("date")
    table = closes.drop("date").cast(pl.Float64).to_numpy()
    real = table[1:] / table[:-1] - 1
    chance = np.random.default_rng(0)
    firsts = chance.integers(0, len(real) - DAYS, PROBLEMS)
    return np.array([_varied(real[first : first + DAYS], chance) for first in firsts])


def _varied(real: Floats, chance: np.random.Generator) -> Floats:
    picked = real[:, chance.integers(0, real.shape[1], ASSETS)]
    return np.asarray(picked * chance.uniform(0.7, 1.3, ASSETS) + chance.normal(0, 0.01, picked.shape))


def long_only(covariances: Floats, at_most: float = np.inf) -> Program:
    """Minimum variance with weights from 0 to `at_most` that sum to 1, for each covariance."""
    count, assets = covariances.shape[:2]
    zeros, none, neither = np.zeros((count, assets)), np.zeros((count, 0)), np.zeros((count, 0), dtype=bool)
    return Program(
        quadratic=covariances,
        linear=zeros,
        lower=zeros,
        upper=zeros + at_most,
        rows=np.ones((count, 1, assets)),
        row_splits=np.zeros((count, 1, 0)),
        row_bounds=np.ones((count, 1)),
        row_is_equality=np.ones((count, 1), dtype=bool),
        split_rows=np.zeros((count, 0, assets)),
        split_offsets=none,
        over_costs=none,
        under_costs=none,
        has_over=neither,
        has_under=neither,
    )


def _timed(section: Section, what: str, problems: int, run: Callable[[], Any]) -> Any:
    with section.round(what) as round_:
        began, cpu = time.perf_counter(), time.process_time()
        found = run()
        round_["us_each"] = 1e6 * (time.perf_counter() - began) / problems
        round_["cpu_us_each"] = 1e6 * (time.process_time() - cpu) / problems
    return found


def _clarabel_problem(covariance: Floats) -> tuple[Any, ...]:
    limits = sparse.csc_matrix(np.vstack([np.ones((1, ASSETS)), -np.eye(ASSETS)]))
    return sparse.csc_matrix(np.triu(covariance)), limits, np.append(1.0, np.zeros(ASSETS))


def _solved_by_clarabel(prepared: tuple[Any, ...]) -> Any:
    quadratic, limits, bounds = prepared
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(ASSETS)]
    return clarabel.DefaultSolver(quadratic, np.zeros(ASSETS), limits, bounds, cones, _QUIET).solve()


_QUIET: Final = clarabel.DefaultSettings()
_QUIET.verbose = False


def _solved_by_pypfopt(covariance: Floats) -> Any:
    from pypfopt import EfficientFrontier  # noqa: PLC0415 - a second of imports that other measurements do not need

    frontier = EfficientFrontier(None, covariance, weight_bounds=(0, 1))
    frontier.min_volatility()
    return frontier.weights


def _solved_by_skfolio(returns: Floats) -> Any:
    from skfolio.optimization import MeanRisk  # noqa: PLC0415 - as above

    return MeanRisk(min_weights=0).fit(returns).weights_


def _check(covariances: Floats, found: Solved, loop: list[Any]) -> None:
    """A quick answer that is wrong is none: no objective may be above Clarabel's by more than 1e-8 of it."""
    assert found.worst().max() <= 1e-8
    x = found.point.x
    ours = np.einsum("pi,pij,pj->p", x, covariances, x) / 2
    theirs = np.array([one.obj_val for one in loop])
    assert np.all(ours <= theirs * (1 + 1e-8) + 1e-12)


def _lines(section: Section) -> list[Line]:
    batch = median(section.of("batch", "us_each"))
    names = {"clarabel": "a Clarabel loop", "pypfopt": "PyPortfolioOpt", "skfolio": "skfolio"}
    lines = [
        # One of 1,000 for Clarabel and the batch, of 20 for the others.
        Line(
            shows=0,
            what=f"minimum variance of 50 assets by {name}",
            figure=median(section.of(peer, "us_each")),
            unit="us",
            floor=batch,
            floor_is="batched",
            least=3.0 if peer == "clarabel" else None,
        )
        for peer, name in names.items()
    ]
    cpu = median(section.of("clarabel", "cpu_us_each")), median(section.of("batch", "cpu_us_each"))
    lines.append(
        Line(
            shows=0,
            what="minimum variance, a Clarabel loop in CPU time",
            figure=cpu[0],
            unit="us",
            floor=cpu[1],
            floor_is="batched",
        )
    )
    warm = median(section.of("batch, warm start", "us_each"))
    lines.append(
        Line(shows=0, what="minimum variance from a warm start", figure=warm, unit="us", floor=batch, floor_is="cold")
    )
    return lines
