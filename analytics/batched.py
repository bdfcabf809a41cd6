"""Runs kernels over portfolios that are not all on the same days: as few calls as can be, in shapes compiled before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from analytics import samples
from analytics.conventions import OBSERVATIONS_MIN
from analytics.jax_setup import host, jax, jnp
from analytics.samples import Batch, Floats, Gathered, Panel
from analytics.shapes import bucket

Kernel = Callable[..., Any]
"""Takes the fields of `Gathered` as JAX's arrays."""


def batched(weights: Floats, data: Panel, of_batch: Kernel, of_each: Kernel) -> Iterator[tuple[Batch, Any]]:
    """What the kernels give for each batch of portfolios on the same days, in NumPy's arrays, with their padding.

    `of_batch` takes many portfolios on one set of days, `of_each` many batches of one, along a leading axis. Portfolios on
    fewer than `OBSERVATIONS_MIN` days are in none. `weights`: [portfolio, instrument], zero for what does not count.
    """
    together, alone = samples.batches(weights, data, days_min=OBSERVATIONS_MIN)
    for batch in together:
        shape = bucket(len(batch.portfolios)), bucket(len(batch.instruments))
        yield batch, _called(of_batch, samples.gathered(weights, data, batch, shape))
    for those, (at_once, instruments) in samples.chunks(alone):
        inputs = [samples.gathered(weights, data, batch, (1, instruments)) for batch in those]
        # What pads the number of portfolios is the last of them once more: there is no empty portfolio with days.
        inputs += inputs[-1:] * (at_once - len(those))
        results = _called(of_each, Gathered(*(np.stack(arrays) for arrays in zip(*inputs, strict=True))))
        for number, batch in enumerate(those):
            yield batch, jax.tree.map(lambda array, number=number: array[number], results)


def _called(kernel: Kernel, inputs: Gathered) -> Any:
    return host(kernel(*map(jnp.asarray, inputs)))
