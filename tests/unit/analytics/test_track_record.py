"""A track record's missing figures say why, the days of a drawdown too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from analytics.figures import Figures
from analytics.nav import NavHistory
from analytics.track_record import track_records

DRAWDOWN_DAYS = ("max_drawdown_peak", "max_drawdown_trough", "max_drawdown_recovery")


def reasons_of(values: Sequence[float]) -> list[str | None]:
    """Why the days of the drawdown are missing, of a portfolio that was paid in on its first day."""
    nothing = np.zeros(len(values))
    history = NavHistory(
        days=np.datetime64("2024-06-03") + np.arange(len(values)),
        values=np.array(values),
        inflows=np.concatenate([values[:1], nothing[1:]]),
        outflows=nothing,
        carried=nothing.astype(bool),
    )
    figures = Figures()
    track_records([history], 252, 0.0)[0].document(figures)
    return [figures.unavailable.get(f"performance.{name}") for name in DRAWDOWN_DAYS]


@pytest.mark.parametrize(
    ("values", "reasons"),
    [
        ([100.0, 110.0, 120.0], ["no_drawdown"] * 3),
        ([100.0, 90.0, 95.0], [None, None, "not_recovered"]),
        ([100.0, 90.0, 101.0], [None, None, None]),
        ([100.0, -5.0, 50.0], ["wealth_through_zero"] * 3),
        ([0.0, 0.0, 0.0], ["too_few_observations"] * 3),
    ],
)
def test_the_days_of_a_drawdown_are_missing_for_the_reason_that_it_is(
    values: list[float], reasons: list[str | None]
) -> None:
    assert reasons_of(values) == reasons
