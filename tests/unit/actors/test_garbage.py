"""The collector looks rarely, at new objects only, and still finds cycles."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from actors.garbage import THRESHOLDS, look_rarely


class Knot:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_lives_is_never_looked_at_again() -> None:
    alive = [[number] for number in range(1_000)]
    look_rarely()
    assert gc.get_freeze_count() >= len(alive)
    assert gc.get_threshold() == THRESHOLDS


def test_a_cycle_that_is_let_go_of_later_is_still_freed() -> None:
    look_rarely()
    knot = weakref.ref(Knot())
    kept: list[list[int]] = [[] for _ in range(3 * THRESHOLDS[0])]
    assert knot() is None, len(kept)
