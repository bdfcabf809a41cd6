"""A silence is told of the fault that began it."""

from __future__ import annotations

import pytest

from tests.chaos.absences import absence

pytestmark = pytest.mark.unit

WELL = [number / 10 for number in range(1_000)]
SILENT_FROM_50_TO_58 = [moment for moment in WELL if not 50.05 < moment < 58]


def test_the_longest_silence_of_any_shard_counts() -> None:
    assert absence([WELL, SILENT_FROM_50_TO_58], 50.1, 50.2) == pytest.approx(8.0)


def test_a_fault_that_disturbs_nobody_shows_the_usual_distance_of_acknowledgements() -> None:
    assert absence([WELL], 50.1, 52.0) == pytest.approx(0.1)


def test_a_silence_that_was_there_before_is_not_the_faults() -> None:
    assert absence([SILENT_FROM_50_TO_58], 53.0, 54.0) is None


def test_a_silence_that_begins_while_the_fault_lasts_is_the_faults() -> None:
    assert absence([SILENT_FROM_50_TO_58], 47.0, 51.0) == pytest.approx(8.0)


def test_a_silence_that_begins_after_the_fault_is_not_the_faults() -> None:
    assert absence([SILENT_FROM_50_TO_58], 40.0, 45.0) == pytest.approx(0.1)
