"""Programs brought to sizes from a short list, so that a solver is compiled for few of them.

What is added has no effect: variables fixed at 0, and splits of nothing. The size that a program is brought to is its own, so
that its answer does not depend on what it is solved together with.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analytics.optimise.program import Program
from analytics.shapes import bucket, padded

_ELEMENTS_MAX: Final = 2**25
"""Numbers that the matrices of problems solved at once may have together; four such arrays of 0.25 GB are alive at a time."""


def bucketed(programs: Program) -> Program:
    """A batch with its variables and splits at bucket sizes. Splits stay none where there are none."""
    variables = variable_bucket(programs.linear.shape[-1])
    splits = programs.split_offsets.shape[-1]
    splits = split_bucket(splits)
    rows = programs.row_bounds.shape[-1]
    sizes = {"variable": variables, "split": splits, "row": rows}
    fills = {"has_over": True, "has_under": True}
    grown = {
        name: padded(array, (array.shape[0], *(sizes[axis] for axis in _AXES[name])), fills.get(name, 0))
        for name, array in programs._asdict().items()
    }
    return Program(**grown)


def variable_bucket(count: int) -> int:
    """16, 24, 32 and so on to 64, and from there on as other sizes.

    Finer than those, because work grows with the cube: fifty variables at 64 would cost twice what they cost alone.
    """
    return max(_FEWEST, -(-count // _VARIABLES_STEP) * _VARIABLES_STEP) if count <= _FEW else bucket(count)


def split_bucket(count: int) -> int:
    """None, 16, 32, 64, and from there on as other sizes: few splits cost nothing, and every size is compiled for."""
    if not count:
        return 0
    return bucket(count) if count > _FEW else max(_FEWEST, 1 << (count - 1).bit_length())


def with_spare_rows(programs: Program) -> Program:
    """A batch whose rows are as many as the next multiple of four, those added being 0 <= 1."""
    rows = programs.row_bounds.shape[-1]
    spare = -rows % _ROWS_STEP
    fills = {"row_bounds": 1.0}
    grown = {
        name: padded(array, (len(array), rows + spare, *array.shape[2:]), fills.get(name, 0))
        for name, array in programs._asdict().items()
        if _AXES[name][0] == "row"
    }
    return programs._replace(**grown)


_ROWS_STEP: Final = 4
_VARIABLES_STEP: Final = 8
_FEWEST: Final = 16
_FEW: Final = 64
_AXES: Final = {
    "quadratic": ("variable", "variable"),
    "linear": ("variable",),
    "lower": ("variable",),
    "upper": ("variable",),
    "rows": ("row", "variable"),
    "row_splits": ("row", "split"),
    "row_bounds": ("row",),
    "row_is_equality": ("row",),
    "split_rows": ("split", "variable"),
    "split_offsets": ("split",),
    "over_costs": ("split",),
    "under_costs": ("split",),
    "has_over": ("split",),
    "has_under": ("split",),
}


def at_once(programs: Program) -> int:
    """How many problems of these sizes to solve in one call: a power of two, by memory."""
    variables, splits = programs.linear.shape[-1], programs.split_offsets.shape[-1]
    most = _ELEMENTS_MAX // (variables * (variables + splits))
    return 1 << (int(max(1, most)).bit_length() - 1)


def call_size(count: int, most: int) -> int:
    """The size of a call for `count` problems: the next power of two, at most `most`."""
    return min(most, 1 << (count - 1).bit_length())


def chosen(array: np.ndarray, picked: np.ndarray, size: int) -> np.ndarray:
    """The picked problems' part of `array`, the last repeated up to `size`: it ends when they do, so it costs no turn more."""
    repeated = np.concatenate([picked, np.full(size - len(picked), picked[-1])])
    return np.asarray(array[repeated])
