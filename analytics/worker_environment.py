"""What analytics workers are given: how many of them, and the variables that keep each to one core and its code on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

RESOURCE: Final = "analytics"
"""What each task takes one unit of. Shards and replicas take none, so neither ever waits for the other."""
BATCH: Final = "batch"
"""The same for work through all portfolios: whoever asks for one portfolio's figures meanwhile is not to wait behind it."""
QUERIES: Final = "queries"
"""The same for SQL, of which each node answers one at a time: a query may take seconds, which figures are not to wait for."""
COMPILED_VARIABLE: Final = "JAX_COMPILATION_CACHE_DIR"
"""Names the folder of compiled code in every process of a Ray that the service starts."""
_COMPILED_BYTES_MAX: Final = 256 * 1024 * 1024


def units() -> int:
    """How many tasks this node takes at once: 1 of 2 cores, 7 of 8."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def resources() -> Mapping[str, int]:
    """What a node that the service starts offers."""
    return {RESOURCE: units(), BATCH: units(), QUERIES: 1}


def variables(resource: str) -> Mapping[str, str]:
    """Variables of every worker that takes this resource. They also set such workers apart.

    None that was slowed down ever becomes a shard, and each finds again what it has kept: compiled code, or tables.
    """
    return {
        "PORTFOLIO_WORKER": resource,
        # One task, one core: XLA's and BLAS' own threads would take those of the shards.
        "NPROC": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        # Everything is kept: many kernels that take half a second each make up most of a cold start.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(_COMPILED_BYTES_MAX),
        # XLA takes its own tuning flags for features of another machine, and says so at length whenever it loads code.
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def name_compiled_folder() -> None:
    """Let this worker keep compiled code in its node's folder, or, where a Ray that is given names none, in its user's.

    The worker decides: who submits the task may be on another machine, or may not know what the service has set.
    """
    os.environ.setdefault(COMPILED_VARIABLE, str(Path.home() / ".cache/portfolio-state/compiled"))
