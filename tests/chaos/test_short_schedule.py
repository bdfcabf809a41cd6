"""A short chaos run: every light kind of fault once, and one or two heavy ones. `make chaos` is the long one."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.chaos.kinds import HEAVY, LIGHT, Kind
from tests.chaos.report import markdown
from tests.chaos.run import Plan, run
from tests.chaos.schedule import HURRIED

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]

PLAYED_S: Final = 80.0
MISSED_MAX: Final = 3
"""What is struck may not have come back from the fault before: that happens, and a run of nothing but that would be none."""


async def test_what_was_promised_holds_whatever_fails(chaos_seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = await run(Plan(seed=chaos_seed, duration_s=PLAYED_S, pace=HURRIED), lambda step: None)
    with capsys.disabled():
        print(markdown([outcome]))  # noqa: T201 - the table is what this test is read for
    assert outcome.is_clean, outcome.logs
    struck = Counter(strike.kind for strike in outcome.strikes if not strike.missed)
    light = set(LIGHT) - ({Kind.DISK_FULL} if outcome.left_out else set())
    assert len(light - struck.keys()) <= MISSED_MAX
    assert any(kind in struck for kind in HEAVY)
    # A run in which nothing happened would prove nothing.
    assert len(outcome.told.asked) > 1_000
    assert len(outcome.told.reads) > 100
