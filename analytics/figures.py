"""The figures of one portfolio on their way into its document: each is a finite number, or null with a reason."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np

from analytics.reasons import Reason

NOT_FINITE = "not_finite"


class Figures:
    """Collects in `unavailable`, by path, why figures are missing."""

    def __init__(self) -> None:
        self.unavailable: dict[str, str] = {}

    def number(self, path: str, value: Any, reason: int = Reason.NONE) -> float | None:
        """`value` as a float; null if there is a reason or, which no reason foresees, if it is infinite or no number."""
        number = float(value)
        if reason == Reason.NONE and math.isfinite(number):
            return number
        self.missing(path, Reason(reason).text if reason != Reason.NONE else NOT_FINITE)
        return None

    def day(self, path: str, days: np.ndarray, index: int, reason: str) -> date | None:
        """The day at `index`, or null with the reason where that is below 0."""
        if index >= 0:
            return as_date(days[index])
        self.missing(path, reason)
        return None

    def missing(self, path: str, reason: str) -> None:
        """Null, and why."""
        self.unavailable[path] = reason


def as_date(day: np.datetime64) -> date:
    """A day of an array."""
    found: date = day.astype("datetime64[D]").item()
    return found
