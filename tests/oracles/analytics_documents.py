"""A document of analytics whose figures are all different, for those who carry it somewhere."""

from __future__ import annotations

from datetime import date

from analytics.document import (
    AnalysisTerms,
    ContributionDocument,
    ExposureDocument,
    InstrumentDocument,
    PerformanceDocument,
    PortfolioAnalytics,
    RiskDocument,
    StressDocument,
    TailsDocument,
    WindowDocument,
    conventions_of,
)
from tests.oracles.builders import minutes


def analytics_of(portfolio_id: str) -> PortfolioAnalytics:
    """The same for every id; beta and one tail are unavailable."""
    return PortfolioAnalytics(
        portfolio_id=portfolio_id,
        version=7,
        as_of=minutes(0),
        window=WindowDocument(periods=252, start=date(2021, 12, 28), end=date(2022, 12, 28)),
        conventions=conventions_of(AnalysisTerms()),
        exposure=ExposureDocument(
            total_value=100.01,
            cash=1.01,
            gross_exposure=99.5,
            net_exposure=99.0,
            long_exposure=99.25,
            short_exposure=-0.25,
            leverage=0.995,
            cash_weight=0.0101,
            herfindahl_index=0.5,
            effective_positions=2.0,
            position_count=3,
            coverage=0.875,
        ),
        performance=PerformanceDocument(
            start=date(2022, 1, 3),
            end=date(2022, 12, 28),
            periods=250,
            twr=-0.12,
            mwr=-0.13,
            annualised_return=-0.14,
            annualised_volatility=0.19,
            sharpe_ratio=-0.7,
            sortino_ratio=-0.8,
            calmar_ratio=-0.9,
            max_drawdown=-0.21,
            max_drawdown_peak=date(2022, 2, 1),
            max_drawdown_trough=date(2022, 10, 12),
            max_drawdown_recovery=None,
        ),
        risk=RiskDocument(
            observations=252,
            volatility=0.18,
            ewma_volatility=0.17,
            ledoit_wolf_volatility=0.16,
            beta=None,
            tracking_error=0.05,
            information_ratio=0.4,
            value_at_risk=_tails(0.01),
            conditional_value_at_risk=_tails(0.02),
        ),
        contributions=[
            _contribution("AAPL", weight=0.6, marginal=0.2, component=0.12),
            _contribution("GE", weight=0.4, marginal=0.15, component=0.06),
        ],
        stress=[
            StressDocument(
                name="covid",
                kind="historical",
                start=date(2020, 2, 19),
                end=None,
                portfolio_return=-0.3,
                profit_and_loss=-30.0,
            )
        ],
        instruments=[InstrumentDocument(instrument_id="GE", status="gaps")],
        unavailable={"risk.beta": "no_benchmark", "risk.value_at_risk.gaussian.0.99": "not_finite"},
    )


def _contribution(name: str, *, weight: float, marginal: float, component: float) -> ContributionDocument:
    return ContributionDocument(
        instrument_id=name,
        weight=weight,
        marginal=marginal,
        component=component,
        share=component / 0.18,
        value_at_risk={"0.95": weight / 100, "0.99": weight / 50},
        conditional_value_at_risk={"0.95": weight / 80, "0.99": weight / 40},
    )


def _tails(first: float) -> TailsDocument:
    return TailsDocument(
        historical={"0.95": first, "0.99": first + 0.001},
        gaussian={"0.95": first + 0.002, "0.99": None},
        cornish_fisher={"0.95": first + 0.004, "0.99": first + 0.005},
    )
