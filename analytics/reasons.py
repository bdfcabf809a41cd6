"""Why a figure is not available. A figure is NaN exactly where it has one of these."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, unique
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@unique
class Reason(IntEnum):
    """A number in arrays, `text` in documents."""

    NONE = 0
    TOO_FEW_OBSERVATIONS = 1
    ZERO_VOLATILITY = 2
    NO_DRAWDOWN = 3
    WEALTH_THROUGH_ZERO = 4
    NO_DOWNSIDE = 5
    NO_BENCHMARK = 6
    BENCHMARK_WITHOUT_VARIANCE = 7
    NO_ACTIVE_RISK = 8
    NO_COVERED_HOLDINGS = 9
    NO_RATE = 10
    SEVERAL_RATES = 11
    NO_PRICES_IN_WINDOW = 12
    TOTAL_VALUE_NOT_POSITIVE = 13
    NO_POSITIONS = 14
    BENCHMARK_WITHOUT_PRICES = 15

    @property
    def text(self) -> str:
        """`too_few_observations`, as documents name it."""
        return self.name.lower()


ReasonCodes: TypeAlias = NDArray[np.int8]
"""A `Reason` for each portfolio."""

Reasons: TypeAlias = Mapping[str, ReasonCodes]
"""The codes of every figure that can be missing, by the figure's name. Figures may share an array."""


def first_reason(*tests: tuple[Reason, NDArray[np.bool_]]) -> ReasonCodes:
    """For each portfolio the reason of the first test that is true of it."""
    codes = np.zeros(len(tests[0][1]), dtype=np.int8)
    for reason, applies in reversed(tests):
        codes[applies] = reason
    return codes
