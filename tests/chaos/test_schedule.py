"""A schedule is what its seed makes it, and leaves no kind of fault out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.kinds import HEAVY, LIGHT, TRAITS, Kind
from tests.chaos.schedule import BLOCK_S, HURRIED, STEADY, schedule

pytestmark = pytest.mark.unit

SEEDS = range(20)
MINUTE_S = 60.0


def test_a_seed_makes_one_schedule_and_another_seed_another() -> None:
    assert schedule(1, BLOCK_S) == schedule(1, BLOCK_S)
    assert schedule(1, BLOCK_S) != schedule(2, BLOCK_S)


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_minutes_hold_a_hundred_faults_and_every_kind(seed: int) -> None:
    counts = Counter(step.kind for step in schedule(seed, BLOCK_S))
    assert counts.total() >= 100
    assert counts.keys() == set(Kind)
    assert all(counts[kind] == 1 for kind in HEAVY)


def test_every_ten_minutes_of_an_hour_hold_every_kind() -> None:
    steps = schedule(3, 6 * BLOCK_S)
    size = len(steps) // 6
    blocks = [steps[first : first + size] for first in range(0, len(steps), size)]
    assert len(blocks) == 6
    assert all({step.kind for step in block} == set(Kind) for block in blocks)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_run_plays_every_light_kind_and_a_heavy_one(seed: int) -> None:
    kinds = Counter(step.kind for step in schedule(seed, 1.5 * MINUTE_S, pace=HURRIED))
    assert set(LIGHT) <= kinds.keys()
    assert 1 <= sum(kinds[kind] for kind in HEAVY) <= 2


def test_only_the_kinds_that_were_asked_for_are_played() -> None:
    asked = (Kind.KILL_SHARD, Kind.KILL_GCS, Kind.DISK_FULL)
    assert {step.kind for step in schedule(1, BLOCK_S, asked)} == set(asked)
    assert {step.kind for step in schedule(1, BLOCK_S, (Kind.KILL_GCS,))} == {Kind.KILL_GCS}


def test_some_faults_fall_into_others() -> None:
    steps = schedule(4, BLOCK_S)
    assert 0.2 < sum(step.waits for step in steps) / len(steps) < 0.6
    overlapping = [
        before for before, after in pairwise(steps) if not before.waits and before.duration_s > after.distance_s
    ]
    assert len(overlapping) > 5


def test_steps_are_within_their_kinds_bounds() -> None:
    for step in schedule(5, BLOCK_S):
        low, high = TRAITS[step.kind].duration_s
        assert low <= step.duration_s <= high
        assert STEADY.distance_s[0] <= step.distance_s <= STEADY.distance_s[1]
        assert 0 <= step.choice < 1
