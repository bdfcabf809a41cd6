"""An analysis of many portfolios as a document for each: every figure by its name, or null and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from analytics import scenarios
from analytics.conventions import CONFIDENCE_LEVELS, level_name
from analytics.document import (
    AnalysisTerms,
    ContributionDocument,
    ExposureDocument,
    InstrumentDocument,
    PortfolioAnalytics,
    RiskDocument,
    StressDocument,
    TailsDocument,
    WindowDocument,
    conventions_of,
)
from analytics.exposure import Exposure
from analytics.figures import Figures, as_date
from analytics.holdings import Holdings
from analytics.panel import PriceStatus, ReturnPanel
from analytics.reasons import Reason
from analytics.risk_analysis import RiskAnalysis
from analytics.stress import Scenario
from analytics.tail_contributions import TailContributions
from analytics.track_record import TrackRecord

_LEVELS: Final = tuple(map(level_name, CONFIDENCE_LEVELS))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What was computed of all portfolios together. Rows are portfolios; `stressed` and `is_priced` have a column a scenario."""

    terms: AnalysisTerms
    held: Holdings
    window: ReturnPanel
    exposure: Exposure
    risk: RiskAnalysis
    tail_parts: TailContributions
    played: Sequence[Scenario]
    stressed: Float64[np.ndarray, "portfolio scenario"]
    is_priced: Bool[np.ndarray, "portfolio scenario"]

    def document(self, row: int, record: TrackRecord) -> PortfolioAnalytics:
        """One portfolio's document."""
        figures = Figures()
        return PortfolioAnalytics(
            portfolio_id=self.held.portfolio_ids[row],
            version=self.held.versions[row],
            as_of=self.held.as_of[row],
            window=self._window(figures),
            conventions=conventions_of(self.terms),
            exposure=self._exposure(row, figures),
            performance=record.document(figures),
            risk=self._risk(row, figures),
            contributions=self._contributions(row, figures),
            stress=list(self._stress(row, figures)),
            instruments=self._incomplete(row),
            unavailable=figures.unavailable,
        )

    def _exposure(self, row: int, figures: Figures) -> ExposureDocument:
        held, found = self.held, self.exposure
        spread = Reason.NONE if held.gross_exposure[row] > 0 else Reason.NO_POSITIONS

        def number(name: str, reason: Reason) -> float | None:
            return figures.number(f"exposure.{name}", getattr(found, name)[row], reason)

        return ExposureDocument(
            total_value=float(held.total_value[row]),
            cash=float(held.cash[row]),
            gross_exposure=float(held.gross_exposure[row]),
            net_exposure=float(held.net_exposure[row]),
            long_exposure=float(found.long_exposure[row]),
            short_exposure=float(found.short_exposure[row]),
            leverage=number("leverage", self._worth(row)),
            cash_weight=number("cash_weight", self._worth(row)),
            herfindahl_index=number("herfindahl_index", spread),
            effective_positions=number("effective_positions", spread),
            position_count=int(found.position_count[row]),
            coverage=number("coverage", spread),
        )

    def _risk(self, row: int, figures: Figures) -> RiskDocument:
        def number(name: str) -> float | None:
            return figures.number(f"risk.{name}", getattr(self.risk, name)[row], self._reason(name, row))

        return RiskDocument(
            observations=int(self.risk.observations[row]),
            volatility=number("volatility"),
            ewma_volatility=number("ewma_volatility"),
            ledoit_wolf_volatility=number("ledoit_wolf_volatility"),
            beta=number("beta"),
            tracking_error=number("tracking_error"),
            information_ratio=number("information_ratio"),
            value_at_risk=self._tails("value_at_risk", row, figures),
            conditional_value_at_risk=self._tails("conditional_value_at_risk", row, figures),
        )

    def _tails(self, name: str, row: int, figures: Figures) -> TailsDocument:
        def levels(method: str) -> dict[str, float | None]:
            reason = self._reason(f"value_at_risk.{method}", row)
            found = getattr(getattr(self.risk, method), name)[row]
            return {
                level: figures.number(f"risk.{name}.{method}.{level}", loss, reason)
                for level, loss in zip(_LEVELS, found, strict=True)
            }

        return TailsDocument(
            historical=levels("historical"), gaussian=levels("gaussian"), cornish_fisher=levels("cornish_fisher")
        )

    def _contributions(self, row: int, figures: Figures) -> list[ContributionDocument]:
        reason = self._reason("contributions", row)
        if reason:
            figures.missing("contributions", Reason(reason).text)
            return []
        weights, volatility = self.held.weights[row], float(self.risk.volatility[row])
        return [
            ContributionDocument(
                instrument_id=self.held.instruments[place],
                weight=float(weights[place]),
                marginal=float(self.risk.marginal[row, place]),
                component=float(self.risk.component[row, place]),
                share=float(self.risk.component[row, place]) / volatility,
                value_at_risk=_by_level(self.tail_parts.value_at_risk[row, :, place]),
                conditional_value_at_risk=_by_level(self.tail_parts.conditional_value_at_risk[row, :, place]),
            )
            for place in np.flatnonzero((weights != 0) & self.window.covered)
        ]

    def _stress(self, row: int, figures: Figures) -> Iterator[StressDocument]:
        worth, total = self._worth(row), float(self.held.total_value[row])
        for place, scenario in enumerate(self.played):
            unpriced = Reason.NONE if self.is_priced[row, place] else Reason.NO_PRICES_IN_WINDOW
            yield scenarios.document(figures, scenario, float(self.stressed[row, place]), total, worth or unpriced)

    def _incomplete(self, row: int) -> list[InstrumentDocument]:
        return [
            InstrumentDocument(instrument_id=self.held.instruments[place], status=self.window.statuses[place])
            for place in np.flatnonzero(self.held.market_values[row])
            if self.window.statuses[place] is not PriceStatus.COMPLETE
        ]

    def _worth(self, row: int) -> Reason:
        return Reason.NONE if self.held.has_weights[row] else Reason.TOTAL_VALUE_NOT_POSITIVE

    def _reason(self, name: str, row: int) -> int:
        return int(self._worth(row) or self.risk.reasons[name][row])

    def _window(self, figures: Figures) -> WindowDocument:
        window = self.window
        if window.start is None:
            figures.missing("window.start", "no_prices")
            figures.missing("window.end", "no_prices")
            return WindowDocument(periods=0, start=None, end=None)
        return WindowDocument(periods=len(window.days), start=as_date(window.start), end=as_date(window.days[-1]))


def _by_level(found: Float64[np.ndarray, " level"]) -> dict[str, float]:
    return dict(zip(_LEVELS, found.tolist(), strict=True))
