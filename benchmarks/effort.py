"""How much is measured: rounds, seconds and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The size of each measurement. What is measured is the same for every effort."""

    rounds: int
    paced_s: float
    """A round of offered load."""
    saturated_s: float
    """A round of one request after the other, after `warm_up_s`."""
    warm_up_s: float
    connections: tuple[int, ...]
    """Of saturation reads."""
    rows: int
    """Journal rows of one round through handles."""
    commits: int
    """Single updates, and single commits, of one round."""
    kills: int
    sizes: tuple[int, ...]
    """Portfolios, where costs are followed as counts grow."""
    batch_sizes: tuple[int, ...]
    """Portfolios of a batch, each measured `batch_rounds` times."""
    batch_rounds: int


FULL: Final = Effort(
    rounds=5,
    paced_s=20.0,
    saturated_s=4.0,
    warm_up_s=1.0,
    connections=(4, 16, 64),
    rows=50_000,
    commits=2_000,
    kills=20,
    sizes=(1_000, 10_000, 100_000),
    batch_sizes=(1_000, 20_000),
    batch_rounds=3,
)
QUICK: Final = Effort(
    rounds=2,
    paced_s=4.0,
    saturated_s=1.0,
    warm_up_s=0.5,
    connections=(16,),
    rows=20_000,
    commits=500,
    kills=3,
    sizes=(1_000,),
    batch_sizes=(1_000,),
    batch_rounds=1,
)
