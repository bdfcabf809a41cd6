"""Points in time of what a portfolio was worth, and of what came in and went out between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Shaped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NavHistory:
    """A point for the end of each day with prices since a portfolio's first day, and a last one for the present.

    `days` are datetime64[D] and ascend; amounts are in the base currency. `inflows` and `outflows`, both 0 or above, came
    and went since the point before: deposits, withdrawals, and transfers at what they were worth. `carried` tells the
    days on which something held had no close of the day itself and counts at an earlier price;
    of the present, that a mark shows which is from an earlier day.
    """

    days: Shaped[np.ndarray, " point"]
    values: Float64[np.ndarray, " point"]
    inflows: Float64[np.ndarray, " point"]
    outflows: Float64[np.ndarray, " point"]
    carried: Bool[np.ndarray, " point"]


NO_POINTS: Final = NavHistory(
    days=np.array([], dtype="datetime64[D]"),
    values=np.array([]),
    inflows=np.array([]),
    outflows=np.array([]),
    carried=np.array([], dtype=np.bool_),
)


def joined(histories: Iterable[NavHistory]) -> NavHistory:
    """The points of all of them, one after another."""
    parts = [NO_POINTS, *histories]
    return NavHistory(
        days=np.concatenate([part.days for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        inflows=np.concatenate([part.inflows for part in parts]),
        outflows=np.concatenate([part.outflows for part in parts]),
        carried=np.concatenate([part.carried for part in parts]),
    )
