"""The whole risk set of a thousand portfolios, beside the two matrix products that it cannot do without, in turn.

X are the returns of 500 instruments on 504 days, W the weights of 1,000 portfolios, of which each holds about half of the
instruments, so that no two hold the same. The products are X W', the portfolios' returns R, and X' R, which gives the
contributions to risk; compiled by JAX in 64 bits like everything here.

Two ways to write them differ by half: as above, and with days last, which suits the processor and is what the kernel does.
Two things are put beside them: all of `analyse_risk`, from NumPy's arrays to NumPy's arrays, and the compiled kernel with the
tails, on arrays that lie padded and in place. The promise is held against the first of each, and shown against all. What each
holding adds to the tails is computed apart from the risk set, and shown too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics import value_at_risk
from analytics.jax_setup import jax, jnp
from analytics.risk import Sample, risk_of_batch
from analytics.risk_analysis import analyse_risk
from analytics.shapes import bucket, padded
from analytics.tail_contributions import tail_contributions
from benchmarks.apart import apart
from benchmarks.effort import Effort
from benchmarks.results import Line, Section

PORTFOLIOS: Final = 1_000
INSTRUMENTS: Final = 500
DAYS: Final = 504
_HELD: Final = 0.5
_TURNS: Final = 15

Floats = NDArray[np.float64]
Work = Callable[[], Any]


def measure(effort: Effort) -> Section:
    """In a process of its own, so that nothing else is compiled or cached there."""
    return apart(_measured, effort)


def _measured(effort: Effort) -> Section:
    section = Section("risk set")
    works = _works(*_inputs())
    for work in works.values():
        work()  # Compiles.
    for number in range(effort.rounds):
        with section.round("turns", number=number) as found:
            found["ms"] = _in_turn(works)
    section.lines = _lines(section)
    return section


def _inputs() -> tuple[Floats, Floats, Floats]:
    """Weights [portfolio, instrument], returns [day, instrument], benchmark [day]."""
    chance = np.random.default_rng(504)
    weights = chance.dirichlet(np.ones(INSTRUMENTS), PORTFOLIOS)
    weights[chance.random(weights.shape) >= _HELD] = 0.0
    returns = chance.normal(0.0003, 0.01, (DAYS, INSTRUMENTS))
    return weights, returns, returns.mean(axis=1)


def _works(weights: Floats, returns: Floats, benchmark: Floats) -> Mapping[str, Work]:
    everything = np.ones(INSTRUMENTS, dtype=np.bool_)
    shape = bucket(PORTFOLIOS), bucket(INSTRUMENTS), bucket(DAYS)
    by_instrument = np.ascontiguousarray(returns.T)
    placed = jnp.asarray(padded(weights, shape[:2]))
    sample = Sample(
        returns=jnp.asarray(padded(by_instrument, shape[1:])),
        present=jnp.asarray(padded(np.ones(DAYS, dtype=np.bool_), shape[2:])),
        benchmark=jnp.asarray(padded(benchmark, shape[2:], np.nan)),
    )

    def kernel() -> None:
        risk = risk_of_batch(placed, sample)
        value_at_risk.historical(np.asarray(risk.deviations)[:PORTFOLIOS, :DAYS])
        _wait(risk)

    as_written = jax.jit(_as_written).lower(returns, weights).compile()
    days_last = jax.jit(_days_last).lower(by_instrument, weights).compile()
    x, w, x_days_last = map(jnp.asarray, (returns, weights, by_instrument))
    return {
        "risk set": lambda: analyse_risk(weights, returns, everything, benchmark),
        "kernel and tails": kernel,
        "parts of the tails": lambda: tail_contributions(weights, returns, everything),
        "X W', X' R": lambda: _wait(as_written(x, w)),
        "W X', R X": lambda: _wait(days_last(x_days_last, w)),
    }


def _wait(results: Any) -> None:
    for array in jax.tree.leaves(results):
        array.block_until_ready()


def _as_written(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    portfolio_returns = x @ w.T
    return portfolio_returns, x.T @ portfolio_returns


def _days_last(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    portfolio_returns = w @ x
    return portfolio_returns, portfolio_returns @ x.T


def _in_turn(works: Mapping[str, Work]) -> dict[str, dict[str, float]]:
    """Medians of milliseconds, by the clock and of the processors, of each work."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(_TURNS):
        for name, work in works.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            work()
            took[name].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    return {
        name: {
            "wall": statistics.median(wall_s for wall_s, _ in each) * 1e3,
            "cpu": statistics.median(cpu_s for _, cpu_s in each) * 1e3,
        }
        for name, each in took.items()
    }


def _lines(section: Section) -> list[Line]:
    def ms(work: str, clock: str) -> float:
        return float(statistics.median(found[work][clock] for found in section.of("turns", "ms")))

    def line(work: str, floor: str, clock: str = "wall", most: float | None = None) -> Line:
        unit = "ms" if clock == "wall" else "ms CPU"
        what = f"{work} of {PORTFOLIOS:,} portfolios"
        return Line(
            shows=4, what=what, figure=ms(work, clock), unit=unit, floor=ms(floor, clock), floor_is=floor, most=most
        )

    return [
        line("risk set", "X W', X' R", most=3.0),
        line("kernel and tails", "W X', R X", most=3.0),
        line("risk set", "W X', R X"),
        line("parts of the tails", "X W', X' R"),
        line("risk set", "X W', X' R", "cpu"),
        line("kernel and tails", "W X', R X", "cpu"),
    ]
