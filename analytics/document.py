"""PortfolioAnalytics: the document that REST, clients, the cache and batch files share. One definition serves them all.

Ratios and returns are fractions, amounts in the base currency. What cannot be computed is null, and `unavailable` has the
reason under its path: `{"risk.beta": "no_benchmark"}`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, cast

import msgspec

from analytics import conventions
from portfolio.moments import written

WINDOW_DEFAULT: Final = 252
WINDOW_MIN: Final = 2
WINDOW_MAX: Final = 5_000
_JSON: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisTerms:
    """What a caller may choose. `window` counts daily returns; without a `benchmark`, figures that need one are missing."""

    window: int = WINDOW_DEFAULT
    benchmark: str | None = None
    risk_free_rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDocument:
    """The returns that risk is taken from: `periods` of them, from the close of `start` to that of `end`."""

    periods: int
    start: date | None
    end: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConventionsDocument:
    """How the figures are defined; docs/analytics.md has the formulas."""

    periods_per_year: int
    ddof: int
    risk_free_rate: float
    returns: str
    day_count: str
    covariance: str
    ewma_decay: float
    confidence_levels: list[float]
    value_at_risk: str
    conditional_value_at_risk: str
    benchmark: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureDocument:
    """What is in the market now. `coverage` is the part of gross exposure that has prices enough for the risk figures."""

    total_value: float
    cash: float
    gross_exposure: float
    net_exposure: float
    long_exposure: float
    short_exposure: float
    leverage: float | None
    cash_weight: float | None
    herfindahl_index: float | None
    effective_positions: float | None
    position_count: int
    coverage: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceDocument:
    """What the portfolio has made, deposits and withdrawals taken out, in at most the window's number of days."""

    start: date | None
    end: date | None
    periods: int
    twr: float | None
    mwr: float | None
    annualised_return: float | None
    annualised_volatility: float | None
    sharpe_ratio: float | None
    sortino_ratio: float | None
    calmar_ratio: float | None
    max_drawdown: float | None
    max_drawdown_peak: date | None
    max_drawdown_trough: date | None
    max_drawdown_recovery: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TailsDocument:
    """Losses of one day, as positive fractions of the total value, by method and confidence level ("0.95")."""

    historical: dict[str, float | None]
    gaussian: dict[str, float | None]
    cornish_fisher: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskDocument:
    """What today's holdings would have done on `observations` days of the window; volatilities are a year's."""

    observations: int
    volatility: float | None
    ewma_volatility: float | None
    ledoit_wolf_volatility: float | None
    beta: float | None
    tracking_error: float | None
    information_ratio: float | None
    value_at_risk: TailsDocument
    conditional_value_at_risk: TailsDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionDocument:
    """A holding's part in the volatility: components add up to it, shares to 1; and in the historical tails, by level.

    `marginal` is how the volatility changes with the weight; a part of a tail, divided by the weight, is how that does.
    """

    instrument_id: str
    weight: float
    marginal: float
    component: float
    share: float
    value_at_risk: dict[str, float]
    conditional_value_at_risk: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StressDocument:
    """What today's holdings would make in a scenario. A shock has no `start` and `end`."""

    name: str
    kind: str
    start: date | None
    end: date | None
    portfolio_return: float | None
    profit_and_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentDocument:
    """A holding whose prices in the window are not complete."""

    instrument_id: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioAnalytics:
    """Every figure of one portfolio at one version, as of one revaluation."""

    portfolio_id: str
    version: int
    as_of: datetime
    window: WindowDocument
    conventions: ConventionsDocument
    exposure: ExposureDocument
    performance: PerformanceDocument
    risk: RiskDocument
    contributions: list[ContributionDocument]
    stress: list[StressDocument]
    instruments: list[InstrumentDocument]
    unavailable: dict[str, str]


def to_json(document: PortfolioAnalytics) -> bytes:
    """`document` as REST answers it."""
    return _JSON.encode(replace(document, as_of=cast(datetime, written(document.as_of))))


def conventions_of(terms: AnalysisTerms) -> ConventionsDocument:
    """How the figures of every document of these terms are defined."""
    return ConventionsDocument(
        periods_per_year=conventions.PERIODS_PER_YEAR,
        ddof=conventions.DDOF,
        risk_free_rate=terms.risk_free_rate,
        returns="simple",
        day_count=f"ACT/{conventions.DAYS_PER_YEAR}",
        covariance="sample",
        ewma_decay=conventions.EWMA_DECAY,
        confidence_levels=list(conventions.CONFIDENCE_LEVELS),
        value_at_risk="loss of one day, historical: the ceil(alpha * T)-th worst",
        conditional_value_at_risk="Rockafellar-Uryasev",
        benchmark=terms.benchmark,
    )
