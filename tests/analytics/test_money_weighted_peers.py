"""Money-weighted returns beside pyxirr's."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyxirr

from analytics.jax_setup import jnp
from analytics.money_weighted import money_weighted_return
from tests.analytics.samples import assert_close

PORTFOLIOS, FLOWS, DAYS = 400, 24, 1_900
BEGIN = date(2018, 1, 2)


def test_rates_are_pyxirrs() -> None:
    chance = np.random.default_rng(7)
    amounts = -chance.uniform(0, 5_000, (PORTFOLIOS, FLOWS)) * (chance.random((PORTFOLIOS, FLOWS)) < 0.8)
    amounts[:, 0] = -10_000
    amounts[:, 1:-1] *= np.where(chance.random((PORTFOLIOS, FLOWS - 2)) < 0.3, -0.5, 1.0)
    amounts[:, -1] = -amounts[:, :-1].sum(axis=1) * chance.uniform(0.5, 2.5, PORTFOLIOS)
    days = np.sort(chance.integers(1, DAYS, (PORTFOLIOS, FLOWS)), axis=1)
    days[:, 0] = 0
    days[:, -1] = DAYS
    found = money_weighted_return(
        jnp.asarray(amounts), jnp.asarray(days / 365), jnp.asarray(np.ones_like(amounts, dtype=bool))
    )
    single = np.asarray(found.roots) == 1
    expected = [
        pyxirr.xirr([BEGIN + timedelta(days=int(day)) for day in days[index]], amounts[index])
        for index in np.flatnonzero(single)
    ]
    assert single.sum() > 0.95 * PORTFOLIOS
    assert_close(np.asarray(found.rate)[single], expected, rtol=1e-9, atol=1e-9)
