"""Counting the tail, rates a day, and sizes of arrays."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.conventions import per_period, tail_count
from analytics.reasons import Reason, first_reason
from analytics.shapes import bucket, padded


@pytest.mark.parametrize(
    ("observations", "confidence", "count"),
    [
        (1_000, 0.95, 50),  # 1 - 0.95 in floats is above 0.05, and so is a thousand of it above 50.
        (1_001, 0.95, 51),
        (100, 0.99, 1),
        (101, 0.99, 2),
        (252, 0.95, 13),
        (504, 0.99, 6),
        (5_000, 0.99, 50),
        (2, 0.99, 1),
    ],
)
def test_a_tail_is_the_ceiling_of_its_share(observations: int, confidence: float, count: int) -> None:
    assert tail_count(observations, confidence) == count


def test_every_whole_share_is_itself() -> None:
    for count in range(1, 500):
        assert tail_count(20 * count, 0.95) == count
        assert tail_count(100 * count, 0.99) == count


def test_a_rate_a_day_compounds_to_the_years() -> None:
    assert (1 + per_period(0.02)) ** 252 == pytest.approx(1.02, rel=1e-13)
    assert per_period(0.0) == 0.0


def test_buckets_hold_their_counts_and_are_few() -> None:
    sizes = [bucket(count) for count in range(5_001)]
    assert all(size >= count for count, size in enumerate(sizes))
    assert max(size / count for count, size in enumerate(sizes) if count > 64) <= 1.25
    assert len({*sizes}) < 32
    assert [bucket(count) for count in (0, 1, 20, 252, 504, 1_257)] == [16, 16, 32, 256, 512, 1_280]


def test_padding_leaves_what_was_there() -> None:
    array = np.arange(6.0).reshape(2, 3)
    larger = padded(array, (4, 5), np.nan)
    np.testing.assert_array_equal(larger[:2, :3], array)
    assert np.isnan(larger).sum() == 14
    assert padded(array, (2, 3)) is array


def test_the_first_reason_that_applies_is_given() -> None:
    codes = first_reason(
        (Reason.NO_BENCHMARK, np.array([False, True, False])), (Reason.NO_ACTIVE_RISK, np.array([True, True, False]))
    )
    assert [Reason(code).text for code in codes] == ["no_active_risk", "no_benchmark", "none"]
