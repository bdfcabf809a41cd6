"""Latencies and what is quoted of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    p999: float


def quantiles(latencies_s: Sequence[float]) -> Quantiles:
    """The quantiles of latencies in seconds, by nearest rank."""
    ordered = sorted(latencies_s)

    def at(fraction: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] * 1_000, 4)

    return Quantiles(at(0.50), at(0.90), at(0.99), at(0.999))


def median_of(rounds: Sequence[Quantiles]) -> Quantiles:
    """The median of each quantile over several rounds."""
    return Quantiles(*(statistics.median(getattr(one, name) for one in rounds) for name in Quantiles.__slots__))
