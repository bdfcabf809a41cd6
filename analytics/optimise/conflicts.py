"""Which limits exclude each other, where no weights keep to all of them.

Every limit is made elastic: it may be broken at a cost of 1 for a unit. Where the least cost is above 0 the limits contradict
each other, and those with a multiplier there are enough to do so (Farkas). Of these, each is given up in turn, and left out for
good if the rest still contradicts itself: what is left is a smallest such set (J. Chinneck, Feasibility and Infeasibility
in Optimization (2008), chapter 6: the elastic and the deletion filter).
"""

from __future__ import annotations

from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from analytics.optimise.limits import Named
from analytics.optimise.program import Point, Program
from analytics.optimise.solving import solve

BROKEN: Final = 1e-7
"""Limits broken by less than this together are kept."""
CONCERNED: Final = 1e-6
"""Limits with a smaller multiplier have no part in a conflict."""
_LEVEL: Final = 1e-9
"""A slight pull to 0, so that weights without any limit have a place to be."""


class Elastic:
    """The limits of one program, each with its price."""

    def __init__(self, named: Named) -> None:
        self._program, self.labels = _elastic(named)
        self._is_kept = np.ones(len(self.labels), dtype=bool)

    def broken(self) -> float:
        """By how much the limits have to be broken at least, in sum."""
        return self._solved()[0]

    def conflict(self) -> list[str]:
        """Names of limits that cannot hold together, none of which could be missed; empty if all can."""
        broken, concerned = self._solved()
        if broken <= BROKEN:
            return []
        self._is_kept = concerned
        for index in np.flatnonzero(concerned):
            self._is_kept[index] = False
            if self._solved()[0] <= BROKEN:
                self._is_kept[index] = True
        return [label for label, is_kept in zip(self.labels, self._is_kept, strict=True) if is_kept]

    def _solved(self) -> tuple[float, Bool[np.ndarray, " limit"]]:
        """What the kept limits are broken by, and which of them have a part in it."""
        program = _priced(self._program, self._is_kept)
        point = Point(*(array[0] for array in solve(Program(*(array[None] for array in program))).point))
        broken = program.over_costs @ point.over + program.under_costs @ point.under
        counted = len(self.labels)
        return float(broken), (np.abs(point.split_multiplier[:counted]) > CONCERNED) & self._is_kept


def _priced(program: Program, is_kept: Bool[np.ndarray, " limit"]) -> Program:
    """A limit that is given up costs nothing."""
    price = np.ones(len(program.split_offsets))
    price[: len(is_kept)] = is_kept
    return program._replace(over_costs=program.over_costs * price, under_costs=program.under_costs * price)


class _Sums(NamedTuple):
    """Limits of sums of weights: at most `offsets`, or just that where `is_equality`."""

    rows: Float64[np.ndarray, "limit weight"]
    offsets: Float64[np.ndarray, " limit"]
    is_equality: Bool[np.ndarray, " limit"]
    names: tuple[str, ...]


def _elastic(named: Named) -> tuple[Program, tuple[str, ...]]:
    """The program of the least sum of violations, whose first splits are the limits, and the limits' names.

    A row with splits is one through a variable of its own, by which its sum of splits is over; what defines absolute values stays.
    """
    program = named.program
    summed = np.flatnonzero(program.row_splits.any(axis=1))
    is_absolute = program.has_over & program.has_under
    sums, own = _sums(named), np.eye(len(summed))
    defining = program.split_rows[is_absolute]
    count, overs, defined = len(program.linear), len(summed), len(defining)
    limit_count = len(sums.offsets) + overs
    everything = np.ones(limit_count + defined, dtype=bool)
    elastic = Program(
        quadratic=_LEVEL * np.eye(count + overs),
        linear=np.zeros(count + overs),
        lower=np.full(count + overs, -np.inf),
        upper=np.full(count + overs, np.inf),
        rows=np.hstack([program.rows[summed], -own]),
        row_splits=np.pad(program.row_splits[np.ix_(summed, is_absolute)], ((0, 0), (limit_count, 0))),
        row_bounds=program.row_bounds[summed],
        row_is_equality=program.row_is_equality[summed],
        split_rows=np.vstack(
            [_widened(sums.rows, overs), np.pad(own, ((0, 0), (count, 0))), _widened(defining, overs)]
        ),
        split_offsets=np.concatenate([sums.offsets, np.zeros(overs), program.split_offsets[is_absolute]]),
        over_costs=np.concatenate([np.ones(limit_count), np.zeros(defined)]),
        under_costs=np.concatenate([sums.is_equality, np.zeros(overs + defined)]),
        has_over=everything,
        has_under=everything,
    )
    return elastic, sums.names + _at(named.labels.rows, summed)


def _sums(named: Named) -> _Sums:
    """Rows without splits, inequalities, and bounds."""
    program, labels = named
    plain = np.flatnonzero(~program.row_splits.any(axis=1))
    inequalities = np.flatnonzero(~(program.has_over & program.has_under))
    lower, upper = np.flatnonzero(np.isfinite(program.lower)), np.flatnonzero(np.isfinite(program.upper))
    unit = np.eye(len(program.linear))
    blocks = [
        (program.rows[plain], program.row_bounds[plain], _at(labels.rows, plain)),
        (program.split_rows[inequalities], program.split_offsets[inequalities], _at(labels.splits, inequalities)),
        (-unit[lower], -program.lower[lower], _at(labels.lower, lower)),
        (unit[upper], program.upper[upper], _at(labels.upper, upper)),
    ]
    rows, offsets, names = zip(*blocks, strict=True)
    is_equality = np.zeros(sum(map(len, offsets)), dtype=bool)
    is_equality[: len(plain)] = program.row_is_equality[plain]
    return _Sums(np.concatenate(rows), np.concatenate(offsets), is_equality, tuple(chain(*names)))


def _widened(rows: Float64[np.ndarray, "row weight"], more: int) -> Float64[np.ndarray, "row variable"]:
    return np.pad(rows, ((0, 0), (0, more)))


def _at(labels: tuple[str | None, ...], places: Int64[np.ndarray, " place"]) -> tuple[str, ...]:
    return tuple(labels[place] or "" for place in places)
