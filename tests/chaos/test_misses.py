"""A fault that looks for appends and never finds one makes a long run fail."""

from __future__ import annotations

import pytest

from tests.chaos.kinds import Kind
from tests.chaos.misses import never_struck
from tests.chaos.playing import Strike
from tests.chaos.schedule import BLOCK_S

pytestmark = pytest.mark.unit

CUT = Kind.POSTGRES_CUT_AFTER_COMMIT


def strike(kind: Kind, missed: str = "") -> Strike:
    return Strike(kind, 0.0, 1.0, missed)


def test_a_kind_that_was_missed_every_time_is_told() -> None:
    strikes = [strike(CUT, "no append was under way"), strike(Kind.KILL_GCS), strike(CUT, "no append was under way")]
    assert never_struck(strikes, BLOCK_S) == [f"{CUT}: never struck"]


def test_one_strike_is_enough() -> None:
    assert never_struck([strike(CUT, "no append was under way"), strike(CUT)], BLOCK_S) == []


def test_a_kind_that_was_not_played_is_not_missed() -> None:
    assert never_struck([strike(Kind.KILL_SHARD)], BLOCK_S) == []


def test_a_kind_whose_victim_may_be_away_may_miss() -> None:
    assert never_struck([strike(Kind.KILL_GCS, "gone")], BLOCK_S) == []


def test_a_short_run_may_miss() -> None:
    assert never_struck([strike(CUT, "no append was under way")], BLOCK_S - 1) == []
