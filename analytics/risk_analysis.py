"""The whole risk set of a batch of portfolios, NumPy in and out: missing days, padding and reasons are seen to here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from analytics import samples, value_at_risk
from analytics.conventions import CONFIDENCE_LEVELS, DEVIATION_MIN, OBSERVATIONS_MIN, PERIODS_PER_YEAR
from analytics.jax_setup import host, jax, jnp
from analytics.reasons import Reason, Reasons, first_reason
from analytics.risk import Sample, risk_of_batch, risk_of_each
from analytics.samples import Batch, Gathered, Panel
from analytics.shapes import bucket
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
    data = samples.panel(returns, benchmark)
    together, alone = samples.batches(chosen, data, days_min=OBSERVATIONS_MIN)
    parts = [(batch, _computed_together(chosen, data, batch)) for batch in together]
    parts += _computed_alone(chosen, data, alone)
    return _analysis(_merged(parts, *weights.shape), chosen, has_benchmark=benchmark is not None)


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


def _computed_together(weights: Floats, data: Panel, batch: Batch) -> _Found:
    shape = bucket(len(batch.portfolios)), bucket(len(batch.instruments))
    inputs = samples.gathered(weights, data, batch, shape)
    return _cut(host(risk_of_batch(*_device(inputs))), batch)


def _computed_alone(weights: Floats, data: Panel, alone: list[Batch]) -> Iterator[tuple[Batch, _Found]]:
    for those, (at_once, instruments) in samples.chunks(alone):
        inputs = [samples.gathered(weights, data, batch, (1, instruments)) for batch in those]
        # What pads the number of portfolios is the last of them once more: there is no empty portfolio with days.
        inputs += inputs[-1:] * (at_once - len(those))
        stacked = Gathered(*(np.stack(arrays) for arrays in zip(*inputs, strict=True)))
        results = host(risk_of_each(*_device(stacked)))
        for number, batch in enumerate(those):
            yield batch, _cut(jax.tree.map(lambda array, number=number: array[number], results), batch)


def _device(inputs: Gathered) -> tuple[Array, Sample]:
    weights, *sample = map(jnp.asarray, inputs)
    return weights, Sample(*sample)


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


def _analysis(found: _Found, weights: Floats, *, has_benchmark: bool) -> RiskAnalysis:
    reasons = _reasons(found, (weights != 0).any(axis=1), has_benchmark=has_benchmark)
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


def _reasons(found: _Found, is_invested: NDArray[np.bool_], *, has_benchmark: bool) -> Reasons:
    sample = [
        (Reason.NO_COVERED_HOLDINGS, ~is_invested),
        (Reason.TOO_FEW_OBSERVATIONS, found.observations < OBSERVATIONS_MIN),
    ]
    benchmark = [
        *sample,
        (Reason.NO_BENCHMARK, np.full(len(is_invested), not has_benchmark)),
        (Reason.BENCHMARK_WITHOUT_PRICES, found.benchmark_observations == 0),
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
            *benchmark, (Reason.BENCHMARK_WITHOUT_VARIANCE, found.benchmark_variance < DEVIATION_MIN**2)
        ),
        "tracking_error": first_reason(*benchmark),
        "information_ratio": first_reason(*benchmark, (Reason.NO_ACTIVE_RISK, found.tracking_error < least)),
        "value_at_risk.historical": any_codes,
        "value_at_risk.gaussian": any_codes,
        "value_at_risk.cornish_fisher": varied,
        "contributions": varied,
    }
