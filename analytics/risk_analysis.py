"""The whole risk set of a batch of portfolios, NumPy in and out: missing days, padding and reasons are seen to here."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics import samples, value_at_risk
from analytics.batched import batched
from analytics.conventions import CONFIDENCE_LEVELS, DEVIATION_MIN, OBSERVATIONS_MIN, PERIODS_PER_YEAR
from analytics.reasons import Reason, Reasons, first_reason
from analytics.risk import Sample, risk_of_batch, risk_of_each
from analytics.samples import Batch
from analytics.value_at_risk import TailRisk

Floats = NDArray[np.float64]


class RiskAnalysis(NamedTuple):
    """Figures of [portfolio], [portfolio, level] or [portfolio, instrument]; NaN exactly where `reasons` has a reason.

    Volatilities are a year's, tails a day's. `marginal` and `component` are zero for what is not held, and components sum
    to the volatility. `reasons` has the figures' names; `value_at_risk.<method>` stands for both of a method's tails,
    `contributions` for `marginal` and `component`.
    """

    observations: NDArray[np.int64]
    volatility: Floats
    ewma_volatility: Floats
    ledoit_wolf_volatility: Floats
    beta: Floats
    tracking_error: Floats
    information_ratio: Floats
    historical: TailRisk
    gaussian: TailRisk
    cornish_fisher: TailRisk
    marginal: Floats
    component: Floats
    reasons: Reasons


def analyse_risk(
    weights: Floats, returns: Floats, covered: NDArray[np.bool_], benchmark: Floats | None = None
) -> RiskAnalysis:
    """Of today's holdings over the days of `returns`.

    `weights`: [portfolio, instrument], fractions of total value; what cash makes of the rest returns nothing. `returns`:
    [day, instrument], simple, NaN where there is none; a portfolio is computed from the days on which all it holds has
    one. Instruments that are not `covered` count as if they were not held. `benchmark`: [day], NaN where there is none.
    """
    chosen = weights if covered.all() else np.where(covered, weights, 0.0)
    parts = [
        (batch, _cut(risk, batch))
        for batch, risk in batched(chosen, samples.panel(returns, benchmark), _of_batch, _of_each)
    ]
    return _analysis(_merged(parts, *weights.shape), chosen, benchmark)


class _Found(NamedTuple):
    """What the kernel and the tails gave, for all portfolios or for a batch of them."""

    observations: NDArray[np.int64]
    benchmark_observations: NDArray[np.int64]
    benchmark_variance: Floats
    mean: Floats
    deviation: Floats
    skewness: Floats
    excess_kurtosis: Floats
    volatility: Floats
    ewma_volatility: Floats
    ledoit_wolf_volatility: Floats
    beta: Floats
    tracking_error: Floats
    active_return: Floats
    historical_var: Floats
    historical_cvar: Floats
    marginal: Floats
    component: Floats


def _merged(parts: list[tuple[Batch, _Found]], portfolios: int, instruments: int) -> _Found:
    if len(parts) == 1 and parts[0][1].marginal.shape == (portfolios, instruments):
        return parts[0][1]  # All of them on the same days, as most are: nothing is copied.
    whole = _nothing_yet(portfolios, instruments)
    for batch, part in parts:
        for all_of_it, some in zip(whole[:-2], part[:-2], strict=True):
            all_of_it[batch.portfolios] = some
        places = np.ix_(batch.portfolios, batch.instruments)
        whole.marginal[places], whole.component[places] = part.marginal, part.component
    return whole


def _nothing_yet(portfolios: int, instruments: int) -> _Found:
    arrays: dict[str, Any] = {name: np.full(portfolios, np.nan) for name in _Found._fields}
    arrays |= {name: np.zeros(portfolios, dtype=np.int64) for name in ("observations", "benchmark_observations")}
    for name in ("historical_var", "historical_cvar"):
        arrays[name] = np.full((portfolios, len(CONFIDENCE_LEVELS)), np.nan)
    for name in ("marginal", "component"):
        arrays[name] = np.zeros((portfolios, instruments))
    return _Found(**arrays)


def _of_batch(weights: Any, *sample: Any) -> Any:
    return risk_of_batch(weights, Sample(*sample))


def _of_each(weights: Any, *sample: Any) -> Any:
    return risk_of_each(weights, Sample(*sample))


def _cut(risk: Any, batch: Batch) -> _Found:
    """From a `SampleRisk` of NumPy's arrays: without the padding, and with the tails."""
    count, days = len(batch.portfolios), len(batch.present)
    mean = risk.moments.mean[:count]
    # Deviations are in the order of returns, so the mean comes off the few that are looked at.
    deviations = risk.deviations[:count, :days]
    tail = value_at_risk.historical(deviations if batch.present.all() else deviations[:, batch.present])
    return _Found(
        observations=np.full(count, risk.observations),
        benchmark_observations=np.full(count, risk.against.observations),
        benchmark_variance=np.full(count, risk.against.variance),
        mean=mean,
        deviation=risk.moments.deviation[:count],
        skewness=risk.moments.skewness[:count],
        excess_kurtosis=risk.moments.excess_kurtosis[:count],
        volatility=risk.volatility[:count],
        ewma_volatility=risk.ewma_volatility[:count],
        ledoit_wolf_volatility=risk.ledoit_wolf_volatility[:count],
        beta=risk.against.beta[:count],
        tracking_error=risk.against.tracking_error[:count],
        active_return=risk.against.active_return[:count],
        historical_var=tail.value_at_risk - mean[:, None],
        historical_cvar=tail.conditional_value_at_risk - mean[:, None],
        marginal=risk.marginal[:count, : len(batch.instruments)],
        component=risk.component[:count, : len(batch.instruments)],
    )


def _analysis(found: _Found, weights: Floats, benchmark: Floats | None) -> RiskAnalysis:
    reasons = _reasons(found, (weights != 0).any(axis=1), benchmark)
    normal = value_at_risk.gaussian(found.mean, found.deviation)
    moved = value_at_risk.cornish_fisher(found.mean, found.deviation, found.skewness, found.excess_kurtosis)
    empirical = TailRisk(found.historical_var, found.historical_cvar)

    def known(figure: Floats, name: str) -> Floats:
        lacking = reasons[name] != Reason.NONE
        if not lacking.any():
            return figure
        return np.where(lacking.reshape(-1, *(1,) * (figure.ndim - 1)), np.nan, figure)

    def known_tail(tail: TailRisk, name: str) -> TailRisk:
        return TailRisk(*(known(figure, f"value_at_risk.{name}") for figure in tail))

    with np.errstate(divide="ignore", invalid="ignore"):
        information_ratio = found.active_return / found.tracking_error
    return RiskAnalysis(
        observations=found.observations,
        volatility=known(found.volatility, "volatility"),
        ewma_volatility=known(found.ewma_volatility, "ewma_volatility"),
        ledoit_wolf_volatility=known(found.ledoit_wolf_volatility, "ledoit_wolf_volatility"),
        beta=known(found.beta, "beta"),
        tracking_error=known(found.tracking_error, "tracking_error"),
        information_ratio=known(information_ratio, "information_ratio"),
        historical=known_tail(empirical, "historical"),
        gaussian=known_tail(normal, "gaussian"),
        cornish_fisher=known_tail(moved, "cornish_fisher"),
        marginal=known(found.marginal, "contributions"),
        component=known(found.component, "contributions"),
        reasons=reasons,
    )


def _reasons(found: _Found, is_invested: NDArray[np.bool_], benchmark: Floats | None) -> Reasons:
    sample = [
        (Reason.NO_COVERED_HOLDINGS, ~is_invested),
        (Reason.TOO_FEW_OBSERVATIONS, found.observations < OBSERVATIONS_MIN),
    ]
    against = [
        *sample,
        (Reason.NO_BENCHMARK, np.full(len(is_invested), benchmark is None)),
        (
            Reason.BENCHMARK_WITHOUT_PRICES,
            np.full(len(is_invested), benchmark is not None and np.isnan(benchmark).all()),
        ),
        (Reason.TOO_FEW_OBSERVATIONS, found.benchmark_observations < OBSERVATIONS_MIN),
    ]
    any_codes = first_reason(*sample)
    varied = first_reason(*sample, (Reason.ZERO_VOLATILITY, found.deviation < DEVIATION_MIN))
    least = DEVIATION_MIN * PERIODS_PER_YEAR**0.5
    return {
        "volatility": any_codes,
        "ewma_volatility": any_codes,
        "ledoit_wolf_volatility": any_codes,
        "beta": first_reason(
            *against, (Reason.BENCHMARK_WITHOUT_VARIANCE, found.benchmark_variance < DEVIATION_MIN**2)
        ),
        "tracking_error": first_reason(*against),
        "information_ratio": first_reason(*against, (Reason.NO_ACTIVE_RISK, found.tracking_error < least)),
        "value_at_risk.historical": any_codes,
        "value_at_risk.gaussian": any_codes,
        "value_at_risk.cornish_fisher": varied,
        "contributions": varied,
    }
