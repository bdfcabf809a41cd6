"""A short chaos run: some light kinds of fault, and a heavy one or two. `make chaos` is the long one."""

from __future__ import annotations

from typing import Final

import pytest

from tests.chaos.kinds import LIGHT
from tests.chaos.report import markdown
from tests.chaos.run import Plan, run
from tests.chaos.schedule import HURRIED

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(500)]

PLAYED_S: Final = 20.0
STRUCK_MIN: Final = 0.2
"""Share of the light kinds. What is to be struck may not have come back yet, and a slow machine runs out of time."""


async def test_what_was_promised_holds_whatever_fails(chaos_seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = await run(Plan(seed=chaos_seed, duration_s=PLAYED_S, pace=HURRIED), lambda step: None)
    with capsys.disabled():
        print(markdown([outcome]))  # noqa: T201 - the table is what this test is read for
    assert outcome.is_clean, outcome.logs
    # A run in which nothing happened would prove nothing.
    struck = {strike.kind for strike in outcome.strikes if not strike.missed}
    assert len(struck & set(LIGHT)) >= STRUCK_MIN * len(LIGHT)
    assert len(outcome.told.asked) > 1_000
    assert len(outcome.told.reads) > 100
