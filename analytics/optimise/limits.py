"""What weights have to keep to, and the program that says so, with a name in words for each limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from analytics.optimise.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimit:
    """Least and most of the sum of some weights; infinite is none."""

    name: str
    members: Bool[np.ndarray, " asset"]
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Limits:
    """Limits of the weights of some assets, as fractions of the total value; infinite is none.

    `current` are the weights held now, which turnover and costs are counted from. What is `aside` is held or sold whatever
    the weights are, and counts: in the sum of weights, in leverage and in turnover.
    """

    names: tuple[str, ...]
    lower: Float64[np.ndarray, " asset"]
    upper: Float64[np.ndarray, " asset"]
    current: Float64[np.ndarray, " asset"]
    invested: tuple[float, float] = (1.0, 1.0)
    groups: tuple[GroupLimit, ...] = ()
    leverage_max: float = np.inf
    turnover_max: float = np.inf
    costs: Float64[np.ndarray, " asset"] | float = 0.0
    expected: Float64[np.ndarray, " asset"] | float = 0.0
    return_min: float = -np.inf
    invested_aside: float = 0.0
    leverage_aside: float = 0.0
    turnover_aside: float = 0.0


class Labels(NamedTuple):
    """A name for each limit of a program, in words. None where it is no limit that anyone asked for."""

    lower: tuple[str | None, ...]
    upper: tuple[str | None, ...]
    rows: tuple[str | None, ...]
    splits: tuple[str | None, ...]


class Named(NamedTuple):
    """One program, and what its limits are called."""

    program: Program
    labels: Labels


class _Split(NamedTuple):
    """A block of split rows; `costs` are of both sides. Inequalities cannot be over."""

    rows: Float64[np.ndarray, "split asset"]
    offsets: Float64[np.ndarray, " split"]
    costs: Float64[np.ndarray, " split"]
    is_inequality: bool
    sum_max: float
    sum_label: str | None
    labels: tuple[str | None, ...]


def limited(
    quadratic: Float64[np.ndarray, "asset asset"], linear: Float64[np.ndarray, " asset"], limits: Limits
) -> Named:
    """The program of least x'Px / 2 + q'x + costs' |x - current| within the limits."""
    blocks = [block for block in (_inequalities(limits), _leverage(limits), _changes(limits)) if len(block.offsets)]
    splits = sum(len(block.offsets) for block in blocks)
    rows, row_splits, bounds, is_equality, row_labels = _rows(limits, blocks, splits)
    count = len(limits.names)
    program = Program(
        quadratic=np.asarray(quadratic, dtype=float),
        linear=np.asarray(linear, dtype=float),
        lower=limits.lower,
        upper=limits.upper,
        rows=rows,
        row_splits=row_splits,
        row_bounds=bounds,
        row_is_equality=is_equality,
        split_rows=np.concatenate([np.zeros((0, count)), *(block.rows for block in blocks)]),
        split_offsets=_joined([block.offsets for block in blocks]),
        over_costs=_joined([block.costs for block in blocks]),
        under_costs=_joined([block.costs for block in blocks]),
        has_over=_joined([np.full(len(block.offsets), not block.is_inequality) for block in blocks]).astype(bool),
        has_under=np.ones(splits, dtype=bool),
    )
    labels = Labels(
        lower=tuple(f"{name} >= {bound:.12g}" for name, bound in zip(limits.names, limits.lower, strict=True)),
        upper=tuple(f"{name} <= {bound:.12g}" for name, bound in zip(limits.names, limits.upper, strict=True)),
        rows=row_labels,
        splits=tuple(label for block in blocks for label in block.labels),
    )
    return Named(program, labels)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])


def _inequalities(limits: Limits) -> _Split:
    """Groups, ranges and least returns, all as sums that are at most something."""
    count = len(limits.names)
    one = np.ones(count)
    wanted: list[tuple[np.ndarray, float, str]] = []
    lower, upper = limits.invested
    if lower != upper:
        wanted.append((one, upper - limits.invested_aside, f"invested <= {upper:.12g}"))
        wanted.append((-one, limits.invested_aside - lower, f"invested >= {lower:.12g}"))
    for group in limits.groups:
        members = group.members.astype(float)
        wanted.append((members, group.upper, f"group {group.name} <= {group.upper:.12g}"))
        wanted.append((-members, -group.lower, f"group {group.name} >= {group.lower:.12g}"))
    if _is_long_only(limits):
        wanted.append((one, limits.leverage_max - limits.leverage_aside, f"leverage <= {limits.leverage_max:.12g}"))
    expected = np.broadcast_to(np.asarray(limits.expected, dtype=float), count)
    wanted.append((-expected, -limits.return_min, f"expected return >= {limits.return_min:.12g}"))
    kept = [one for one in wanted if np.isfinite(one[1])]
    offsets = np.array([offset for _, offset, _ in kept], dtype=float)
    rows = np.array([row for row, _, _ in kept]).reshape(-1, count)
    return _Split(rows, offsets, np.zeros(len(kept)), True, np.inf, None, tuple(label for _, _, label in kept))


def _is_long_only(limits: Limits) -> bool:
    return bool(np.all(limits.lower >= 0))


def _leverage(limits: Limits) -> _Split:
    """Weights by their sign; in a long-only portfolio their sum is an inequality."""
    count = 0 if _is_long_only(limits) or np.isinf(limits.leverage_max) else len(limits.names)
    most = limits.leverage_max - limits.leverage_aside
    return _absolute(
        len(limits.names), np.zeros(count), np.zeros(count), most, f"leverage <= {limits.leverage_max:.12g}"
    )


def _changes(limits: Limits) -> _Split:
    """Weights by how far they are from the current ones."""
    costs = np.broadcast_to(np.asarray(limits.costs, dtype=float), limits.current.shape)
    count = len(limits.names) if np.isfinite(limits.turnover_max) or costs.any() else 0
    most = limits.turnover_max - limits.turnover_aside
    label = f"turnover <= {limits.turnover_max:.12g}"
    return _absolute(len(limits.names), limits.current[:count], costs[:count], most, label)


def _absolute(assets: int, offsets: np.ndarray, costs: np.ndarray, most: float, label: str) -> _Split:
    rows = np.eye(assets)[: len(offsets)]
    return _Split(rows, offsets, costs, False, most, label, (None,) * len(offsets))


def _rows(
    limits: Limits, blocks: Sequence[_Split], splits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str | None, ...]]:
    """The sum of weights where it is one number, and the limits of sums of absolute values."""
    count = len(limits.names)
    found: list[tuple[np.ndarray, np.ndarray, float, bool, str | None]] = []
    lower, upper = limits.invested
    if lower == upper:
        found.append(
            (np.ones(count), np.zeros(splits), upper - limits.invested_aside, True, f"invested = {upper:.12g}")
        )
    first = 0
    for block in blocks:
        last = first + len(block.offsets)
        if np.isfinite(block.sum_max):
            summed = np.zeros(splits)
            summed[first:last] = 1
            found.append((np.zeros(count), summed, block.sum_max, False, block.sum_label))
        first = last
    rows = np.array([row for row, *_ in found]).reshape(len(found), count)
    row_splits = np.array([summed for _, summed, *_ in found]).reshape(len(found), splits)
    bounds = np.array([one[2] for one in found], dtype=float)
    is_equality = np.array([one[3] for one in found], dtype=bool)
    return rows, row_splits, bounds, is_equality, tuple(one[4] for one in found)
