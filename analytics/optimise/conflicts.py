"""Which limits exclude each other, where no weights keep to all of them.

Every limit is made elastic: it may be broken at a cost of 1 for a unit. Where the least cost is above 0 the limits contradict
each other, and those with a multiplier there are enough to do so (Farkas). Of these, each is given up in turn, and left out for
good if the rest still contradicts itself: what is left is a smallest such set (J. Chinneck, Feasibility and Infeasibility
in Optimization (2008), chapter 6: the elastic and the deletion filter).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

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


def _elastic(named: Named) -> tuple[Program, tuple[str, ...]]:
    """The program of the least sum of violations, whose first splits are the limits, and the limits' names.

    A row with splits is one through a variable of its own, by which its sum of splits is over; what defines absolute values stays.
    """
    program, labels = named
    count = len(program.linear)
    summed = np.flatnonzero(program.row_splits.any(axis=1))
    plain = np.flatnonzero(~program.row_splits.any(axis=1))
    is_limit = ~(program.has_over & program.has_under)
    sized = np.eye(count)
    has_lower, has_upper = np.isfinite(program.lower), np.isfinite(program.upper)
    blocks = [  # rows over weights, offsets, whether being under costs as well, names
        (program.rows[plain], program.row_bounds[plain], program.row_is_equality[plain], _at(labels.rows, plain)),
        (
            program.split_rows[is_limit],
            program.split_offsets[is_limit],
            False,
            _at(labels.splits, np.flatnonzero(is_limit)),
        ),
        (-sized[has_lower], -program.lower[has_lower], False, _at(labels.lower, np.flatnonzero(has_lower))),
        (sized[has_upper], program.upper[has_upper], False, _at(labels.upper, np.flatnonzero(has_upper))),
    ]
    rows = np.concatenate([np.pad(block[0], ((0, 0), (0, len(summed)))) for block in blocks])
    own = np.pad(np.eye(len(summed)), ((0, 0), (count, 0)))
    defining = np.pad(program.split_rows[~is_limit], ((0, 0), (0, len(summed))))
    offsets = np.concatenate([*(block[1] for block in blocks), np.zeros(len(summed)), program.split_offsets[~is_limit]])
    unders = np.concatenate([np.broadcast_to(block[2], len(block[1])) for block in blocks]).astype(float)
    limit_count = len(rows) + len(summed)
    defined = len(defining)
    names = tuple(name or "" for block in blocks for name in block[3]) + _at(labels.rows, summed)
    row_splits = np.pad(program.row_splits[np.ix_(summed, ~is_limit)], ((0, 0), (limit_count, 0)))
    elastic = Program(
        quadratic=_LEVEL * np.eye(count + len(summed)),
        linear=np.zeros(count + len(summed)),
        lower=np.full(count + len(summed), -np.inf),
        upper=np.full(count + len(summed), np.inf),
        rows=np.hstack([program.rows[summed], -np.eye(len(summed))]),
        row_splits=row_splits,
        row_bounds=program.row_bounds[summed],
        row_is_equality=program.row_is_equality[summed],
        split_rows=np.concatenate([rows, own, defining]),
        split_offsets=offsets,
        over_costs=np.concatenate([np.ones(limit_count), np.zeros(defined)]),
        under_costs=np.concatenate([unders, np.zeros(len(summed) + defined)]),
        has_over=np.ones(limit_count + defined, dtype=bool),
        has_under=np.ones(limit_count + defined, dtype=bool),
    )
    return elastic, names


def _at(labels: tuple[str | None, ...], places: Float64[np.ndarray, " place"]) -> tuple[str, ...]:
    return tuple(labels[place] or "" for place in places)
