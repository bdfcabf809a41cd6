"""When which fault comes: a pure function of a seed, so that a run can be played again."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.kinds import HEAVY, LIGHT, TRAITS, Kind

BLOCK_S: Final = 600.0
"""In each of these, every kind comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault: `distance_s` after the one before, healed after `duration_s`.

    `choice`, from 0 to 1, decides what is left open: which of several victims, how long a delay. With `waits`, the next
    fault comes only once the service has recovered from all; else it may fall into this one, or into the recovery.
    """

    kind: Kind
    distance_s: float
    duration_s: float
    choice: float
    waits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How close faults follow each other. The costs are what a fault takes on average, with its distance and recovery."""

    distance_s: tuple[float, float]
    share_that_waits: float
    light_s: float
    heavy_s: float


STEADY: Final = Pace(distance_s=(0.5, 5.0), share_that_waits=0.4, light_s=4.6, heavy_s=18.0)
HURRIED: Final = Pace(distance_s=(0.3, 3.0), share_that_waits=0.3, light_s=3.0, heavy_s=15.0)
"""For a short run that still plays every light kind."""


def schedule(seed: int, duration_s: float, kinds: Collection[Kind] = tuple(Kind), pace: Pace = STEADY) -> list[Step]:
    """The faults of a run of about `duration_s`; see `_block` for what each ten minutes hold."""
    chance = random.Random(seed)
    steps: list[Step] = []
    left_s = duration_s
    while left_s > 0:
        block_s = min(left_s, BLOCK_S)
        # What is left after the last whole block is no block of its own if hardly anything fits.
        if steps and block_s < BLOCK_S / 10:
            break
        steps += [_step(kind, chance, pace) for kind in _block(chance, block_s, kinds, pace)]
        left_s -= block_s
    return steps


def _block(chance: random.Random, duration_s: float, kinds: Collection[Kind], pace: Pace) -> list[Kind]:
    """Every light kind once, every heavy one once if there is the time for all, else one or more; then light ones by
    their weights for as long as the time lasts. In any order.
    """
    light = [kind for kind in LIGHT if kind in kinds]
    heavy = [kind for kind in HEAVY if kind in kinds]
    heavy_count = len(heavy) if duration_s >= BLOCK_S else max(1, round(len(heavy) * duration_s / BLOCK_S))
    chosen = [*light, *chance.sample(heavy, min(heavy_count, len(heavy)))]
    spent_s = sum(_cost_s(kind, pace) for kind in chosen)
    chosen += _more(chance, light, int((duration_s - spent_s) / pace.light_s))
    chance.shuffle(chosen)
    return chosen


def _more(chance: random.Random, kinds: list[Kind], count: int) -> Iterator[Kind]:
    if kinds and count > 0:
        yield from chance.choices(kinds, [TRAITS[kind].weight for kind in kinds], k=count)


def _cost_s(kind: Kind, pace: Pace) -> float:
    return pace.heavy_s if TRAITS[kind].is_heavy else pace.light_s


def _step(kind: Kind, chance: random.Random, pace: Pace) -> Step:
    return Step(
        kind=kind,
        distance_s=round(chance.uniform(*pace.distance_s), 3),
        duration_s=round(chance.uniform(*TRAITS[kind].duration_s), 3),
        choice=round(chance.random(), 6),
        waits=chance.random() < pace.share_that_waits,
    )
