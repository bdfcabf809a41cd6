"""The performance figures of many portfolios, each over the last days of its own history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from jaxtyping import Shaped

from analytics.document import PerformanceDocument
from analytics.figures import Figures, as_date
from analytics.nav import NavHistory
from analytics.performance_analysis import PerformanceAnalysis, analyse_performance
from analytics.reasons import Reason

_NOT_RECOVERED: Final = "not_recovered"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackRecord:
    """One portfolio's row of an analysis, whose columns are its own `days`. `opening` is the day it goes on from, if any."""

    analysis: PerformanceAnalysis
    row: int
    days: Shaped[np.ndarray, " day"]
    opening: np.datetime64 | None

    def document(self, figures: Figures) -> PerformanceDocument:
        """Its figures."""
        found, row = self.analysis, self.row

        def number(name: str) -> float | None:
            return figures.number(f"performance.{name}", getattr(found, name)[row], found.reasons[name][row])

        def day(name: str, reason: str) -> date | None:
            return figures.day(f"performance.{name}", self.days, int(getattr(found, name)[row]), reason)

        no_fall = self._why_no_fall
        return PerformanceDocument(
            start=self._start(figures),
            end=self._place(figures, "end", found.last),
            periods=int(found.periods[row]),
            twr=number("twr"),
            mwr=number("mwr"),
            annualised_return=number("annualised_return"),
            annualised_volatility=number("annualised_volatility"),
            sharpe_ratio=number("sharpe_ratio"),
            sortino_ratio=number("sortino_ratio"),
            calmar_ratio=number("calmar_ratio"),
            max_drawdown=number("max_drawdown"),
            max_drawdown_peak=self._start(figures) if self._is_lowest_throughout else day("max_drawdown_peak", no_fall),
            max_drawdown_trough=day("max_drawdown_trough", no_fall),
            max_drawdown_recovery=day("max_drawdown_recovery", no_fall or _NOT_RECOVERED),
        )

    def _start(self, figures: Figures) -> date | None:
        """What it goes on from; for a history that begins here, the day of its first return."""
        has_returns = self.analysis.periods[self.row] > 0
        return (
            as_date(self.opening)
            if self.opening is not None and has_returns
            else self._place(figures, "start", self.analysis.first)
        )

    def _place(self, figures: Figures, name: str, places: np.ndarray) -> date | None:
        has_returns = self.analysis.periods[self.row] > 0
        return figures.day(f"performance.{name}", self.days, int(places[self.row]) if has_returns else -1, "no_returns")

    @property
    def _why_no_fall(self) -> str:
        """Why there are no days of a drawdown: none is known, for the reason that its depth has, or there was none. Empty if one was."""
        if self.analysis.max_drawdown_trough[self.row] >= 0:
            return ""
        return Reason(self.analysis.reasons["max_drawdown"][self.row] or Reason.NO_DRAWDOWN).text

    @property
    def _is_lowest_throughout(self) -> bool:
        """Whether wealth fell without ever having risen, so that it was highest when it began."""
        return bool(self.analysis.max_drawdown_trough[self.row] >= 0 > self.analysis.max_drawdown_peak[self.row])


def track_records(histories: Sequence[NavHistory], window: int, risk_free_rate: float) -> list[TrackRecord]:
    """Of the last `window` points of each history, going on from the one before; of all where there are no more."""
    openings = [_opening(history, window) for history in histories]
    lengths = np.array([min(len(history.days), window) for history in histories])
    present = np.arange(lengths.max()) < lengths[:, np.newaxis]

    def side_by_side(columns: Iterable[np.ndarray], absent: object) -> np.ndarray:
        """A row for each history, from its first day on."""
        rows = np.full(present.shape, absent)
        rows[present] = np.concatenate([column[-window:] for column in columns])
        return rows

    days = side_by_side((history.days for history in histories), np.datetime64("NaT", "D"))
    analysis = analyse_performance(
        days,
        side_by_side((history.values for history in histories), 0.0),
        side_by_side((history.inflows for history in histories), 0.0),
        side_by_side((history.outflows for history in histories), 0.0),
        present,
        opening_values=np.array([value for _, value in openings]),
        # Where nothing was there before, the day counts for nothing.
        opening_day=np.array(
            [day if day is not None else first for (day, _), first in zip(openings, days[:, 0], strict=True)]
        ),
        risk_free_rate=risk_free_rate,
    )
    return [
        TrackRecord(analysis=analysis, row=row, days=days[row], opening=day) for row, (day, _) in enumerate(openings)
    ]


def _opening(history: NavHistory, window: int) -> tuple[np.datetime64 | None, float]:
    """The day and the value of the point that the window goes on from, if there is one."""
    if len(history.days) <= window:
        return None, 0.0
    return history.days[-window - 1], float(history.values[-window - 1])
