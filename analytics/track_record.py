"""The performance figures of many portfolios, each over the last days of its own history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Float64, Shaped

from analytics.document import PerformanceDocument
from analytics.figures import Figures, as_date
from analytics.nav import NavHistory
from analytics.performance_analysis import PerformanceAnalysis, analyse_performance

_NO_DRAWDOWN = "no_drawdown"
_NOT_RECOVERED = "not_recovered"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackRecord:
    """One portfolio's row of an analysis, whose columns are `days`. `opening` is the day that it goes on from, if any."""

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

        is_fallen = found.max_drawdown_trough[row] >= 0
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
            max_drawdown_peak=self._start(figures)
            if self._is_lowest_throughout
            else day("max_drawdown_peak", "no_drawdown"),
            max_drawdown_trough=day("max_drawdown_trough", "no_drawdown"),
            max_drawdown_recovery=day("max_drawdown_recovery", "not_recovered" if is_fallen else "no_drawdown"),
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
    def _is_lowest_throughout(self) -> bool:
        """Whether wealth fell without ever having risen, so that it was highest when it began."""
        return bool(self.analysis.max_drawdown_trough[self.row] >= 0 > self.analysis.max_drawdown_peak[self.row])


def track_records(histories: Sequence[NavHistory], window: int, risk_free_rate: float) -> list[TrackRecord]:
    """Of the last `window` points of each history, going on from the one before; of all where there are no more."""
    openings = [history.days[-window - 1] if len(history.days) > window else None for history in histories]
    found: dict[int, TrackRecord] = {}
    for opening in set(openings):
        places = [place for place, day in enumerate(openings) if day == opening]
        found.update(
            zip(places, _together([histories[place] for place in places], window, risk_free_rate), strict=True)
        )
    return [found[place] for place in range(len(histories))]


def _together(histories: Sequence[NavHistory], window: int, risk_free_rate: float) -> list[TrackRecord]:
    """Those that go on from the same day, or all from nothing."""
    first = histories[0]
    opening = first.days[-window - 1] if len(first.days) > window else None
    days = np.unique(np.concatenate([history.days[-window:] for history in histories]))
    places = [np.searchsorted(days, history.days[-window:]) for history in histories]

    def side_by_side(name: str) -> Float64[np.ndarray, "portfolio day"]:
        laid_out = np.zeros((len(histories), len(days)))
        for row, history in enumerate(histories):
            laid_out[row, places[row]] = getattr(history, name)[-window:]
        return laid_out

    present = np.zeros((len(histories), len(days)), dtype=np.bool_)
    for row, place in enumerate(places):
        present[row, place] = True
    analysis = analyse_performance(
        days,
        side_by_side("values"),
        side_by_side("inflows"),
        side_by_side("outflows"),
        present,
        opening_values=None if opening is None else np.array([history.values[-window - 1] for history in histories]),
        opening_day=opening,
        risk_free_rate=risk_free_rate,
    )
    return [TrackRecord(analysis=analysis, row=row, days=days, opening=opening) for row in range(len(histories))]
