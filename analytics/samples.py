"""Which days each portfolio's risk is taken from: those on which all it holds has a return.

Portfolios that share their days are computed together, on the one matrix of returns that they have in common. The others
are computed each on its own days and instruments. Either way a portfolio's figures are those it would have alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.shapes import bucket, padded

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

TOGETHER_MIN: Final = 16
"""Portfolios from which on a matrix of their own is worth it: its covariance costs as much as the products for fifty."""

ALONE_AT_ONCE: Final = 32
"""Portfolios that are computed each for itself in one call. Fewer are padded to so many: one shape to compile, not many."""

_ELEMENTS_MAX: Final = 2**22
"""Of their returns: 32 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Daily returns as the kernels take them: [instrument, day], with zero where `missing`; the benchmark's NaN there."""

    returns: Floats
    missing: NDArray[np.bool_]
    benchmark: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Portfolios on the same days. `instruments` are those that some of them hold."""

    portfolios: Indices
    instruments: Indices
    present: NDArray[np.bool_]


def panel(returns: Floats, benchmark: Floats | None) -> Panel:
    """From [day, instrument] with NaN where there is no return, and the benchmark's [day]."""
    by_instrument = np.ascontiguousarray(returns.T)
    missing = np.isnan(by_instrument)
    return Panel(
        returns=np.where(missing, 0.0, by_instrument),
        missing=missing,
        benchmark=np.full(len(returns), np.nan) if benchmark is None else benchmark,
    )


def batches(weights: Floats, data: Panel, *, days_min: int) -> tuple[list[Batch], list[Batch]]:
    """Those computed together, and those of a portfolio each; portfolios with fewer days than `days_min` are in neither.

    `weights`: [portfolio, instrument], zero for what is not covered.
    """
    held = weights != 0
    together, alone = [], []
    for portfolios, present in _by_days(held, data.missing):
        if present.sum() < days_min:
            continue
        if len(portfolios) >= min(TOGETHER_MIN, len(weights)):
            instruments = np.flatnonzero(held[portfolios].any(axis=0))
            together.append(Batch(portfolios=portfolios, instruments=instruments, present=present))
        else:
            alone += [
                Batch(portfolios=one[None], instruments=np.flatnonzero(held[one]), present=present)
                for one in portfolios
            ]
    return together, alone


def _by_days(held: NDArray[np.bool_], missing: NDArray[np.bool_]) -> Iterator[tuple[Indices, NDArray[np.bool_]]]:
    """Portfolios by the days they are computed on."""
    lacking = np.flatnonzero(missing.any(axis=0))
    # Counts below 2^24 are exact in float32, and its product is a matrix library's.
    absent = held.astype(np.float32) @ missing[:, lacking].astype(np.float32) > 0
    patterns, number = np.unique(np.packbits(absent, axis=1), axis=0, return_inverse=True)
    order = np.argsort(number, kind="stable")
    for portfolios in np.split(order, np.cumsum(np.bincount(number.ravel(), minlength=len(patterns)))[:-1]):
        present = np.ones(missing.shape[1], dtype=bool)
        present[lacking] = ~absent[portfolios[0]]
        yield portfolios, present


class Gathered(NamedTuple):
    """What a batch is computed from, padded; the last three make a `risk.Sample`."""

    weights: Floats
    returns: Floats
    present: NDArray[np.bool_]
    benchmark: Floats


def gathered(weights: Floats, data: Panel, batch: Batch, shape: tuple[int, int]) -> Gathered:
    """The batch's own weights and returns, padded to [portfolio, instrument].

    All batches have the panel's days, and masks for those that are theirs: kernels are compiled for each shape.
    """
    portfolios, instruments = shape
    every_day = np.arange(data.returns.shape[1])
    days = bucket(len(every_day))
    return Gathered(
        weights=padded(_picked(weights, batch.portfolios, batch.instruments), (portfolios, instruments)),
        returns=padded(_picked(data.returns, batch.instruments, every_day), (instruments, days)),
        present=padded(batch.present, (days,)),
        benchmark=padded(data.benchmark, (days,), np.nan),
    )


def _picked(matrix: Floats, rows: Indices, columns: Indices) -> Floats:
    """Without a copy where all are picked."""
    return matrix if matrix.shape == (len(rows), len(columns)) else matrix[np.ix_(rows, columns)]


def chunks(alone: list[Batch]) -> Iterator[tuple[list[Batch], tuple[int, int]]]:
    """Portfolios whose instruments fit one bucket, and the shape [portfolio, instrument] to compute them in."""
    by_size: dict[int, list[Batch]] = {}
    for batch in alone:
        by_size.setdefault(bucket(len(batch.instruments)), []).append(batch)
    for instruments, those in sorted(by_size.items()):
        at_once = max(1, min(ALONE_AT_ONCE, _ELEMENTS_MAX // (instruments * len(those[0].present))))
        for first in range(0, len(those), at_once):
            yield those[first : first + at_once], (at_once, instruments)
