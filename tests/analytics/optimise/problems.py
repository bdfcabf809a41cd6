"""Problems of every kind: on the sample's real returns and on random ones, ordinary and degenerate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from analytics.optimise.limits import GroupLimit, Limits
from analytics.optimise.problem import Problem
from analytics.optimise.request import Objective
from tests.analytics.samples import random_returns, real_returns


def limits(count: int, **changed: Any) -> Limits:
    """Long only, all of the value invested, from equal weights; `changed` as in Limits."""
    plain = Limits(
        names=tuple(f"A{index}" for index in range(count)),
        lower=np.zeros(count),
        upper=np.full(count, np.inf),
        current=np.full(count, 1 / count),
    )
    return replace(plain, **changed)


def problem(objective: Objective, returns: np.ndarray, asked: Limits, **changed: Any) -> Problem:
    """A problem on daily `returns`; what is tracked is their mean with some noise."""
    covariance = np.cov(returns.T).reshape(returns.shape[1], -1) * 252
    tracked = returns.mean(axis=1) + 0.002 * np.sin(np.arange(len(returns)))
    crossed = (returns - returns.mean(axis=0)).T @ (tracked - tracked.mean()) / (len(returns) - 1) * 252
    plain = Problem(
        objective=objective,
        limits=replace(asked, expected=_means(returns)),
        covariance=covariance,
        expected=_means(returns),
        scenarios=returns,
        tracked_covariance=crossed,
        tracked_variance=float(tracked.var(ddof=1) * 252),
        risk_aversion=2.0,
    )
    return replace(plain, **changed)


def _means(returns: np.ndarray) -> np.ndarray:
    """Four of five expected returns are above 0, whatever the window was like."""
    signs = np.where(np.arange(returns.shape[1]) % 5 == 4, -1.0, 1.0)
    return np.asarray(np.abs(returns.mean(axis=0)) * 252 * signs)


def limited_in_every_way(count: int) -> Mapping[str, Limits]:
    """Limits of each kind, all of which can be kept."""
    some = np.arange(count) % 3 == 0
    short = {"lower": np.full(count, -0.4), "upper": np.full(count, 0.8)}
    fixed = np.where(np.arange(count) == 0, 0.05, 0.0)
    return {
        "long only": limits(count),
        "boxes": limits(count, lower=np.full(count, 0.2 / count), upper=np.full(count, 3 / count)),
        "tight boxes": limits(count, lower=np.full(count, 0.999 / count), upper=np.full(count, 1.001 / count)),
        "a fixed weight": limits(count, lower=fixed, upper=np.where(fixed > 0, fixed, np.inf)),
        "groups": limits(count, groups=(GroupLimit(name="g", members=some, lower=0.3, upper=0.35),)),
        "a range invested": limits(count, invested=(0.6, 0.9)),
        "short": limits(count, **short),
        "leverage": limits(count, leverage_max=1.3, **short),
        "turnover and costs": limits(count, turnover_max=0.4, costs=np.linspace(0, 0.004, count)),
        "all of them": limits(
            count,
            leverage_max=1.4,
            turnover_max=0.7,
            costs=np.full(count, 0.001),
            groups=(GroupLimit(name="g", members=some, lower=-np.inf, upper=0.4),),
            **short,
        ),
    }


def samples() -> Mapping[str, np.ndarray]:
    """Returns, [day, asset], of twenty assets: real, random, some the same as others, and of fewer days than assets."""
    real = real_returns(504)
    return {
        "real": real,
        "random": random_returns(300, 20, seed=1),
        "duplicates": np.c_[real[:, :12], real[:, :8]],
        "more assets than days": random_returns(15, 20, seed=2),
    }
