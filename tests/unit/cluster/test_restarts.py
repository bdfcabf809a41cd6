"""How soon the next serving process is started."""

from __future__ import annotations

from cluster.restarts import GOOD_LIFE_S, PAUSE_MAX_S, Restarts


def test_after_a_good_life_the_next_one_begins_at_once() -> None:
    restarts = Restarts()
    assert [restarts.pause_s(GOOD_LIFE_S) for _ in range(5)] == [0.0] * 5


def test_short_lives_in_a_row_are_followed_by_longer_and_longer_pauses() -> None:
    restarts = Restarts()
    assert [restarts.pause_s(1.0) for _ in range(6)] == [0.0, 1.0, 3.0, 7.0, PAUSE_MAX_S, PAUSE_MAX_S]
    assert [restarts.pause_s(1.0) for _ in range(5_000)] == [PAUSE_MAX_S] * 5_000


def test_one_good_life_makes_up_for_the_short_ones() -> None:
    restarts = Restarts()
    for _ in range(4):
        restarts.pause_s(1.0)
    assert restarts.pause_s(GOOD_LIFE_S) == 0.0
    assert [restarts.pause_s(1.0) for _ in range(2)] == [0.0, 1.0]
