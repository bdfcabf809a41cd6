"""Analytics as Ray tasks, on workers of their own: as many at once as leave a core to the shards, one thread each.

A worker takes seconds to load JAX, so it is not ended while idle (`cluster/ray_profile.py`), and what it has compiled is on
disk for the next one. This module loads no JAX itself: those who only submit jobs need none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import ray
from ray.exceptions import RayError, RayTaskError

from analytics.worker_environment import RESOURCE, name_compiled_folder, variables
from portfolio.errors import AnalyticsUnavailable, PortfolioError

DEATHS_MAX: Final = 3
"""How often a job is begun again because its worker died. Jobs change nothing, so this is always safe."""
_NICENESS: Final = 10

Job = Callable[..., Any]


class Workers:
    """The analytics workers of the Ray cluster that this process has joined, or those of another resource."""

    def __init__(self, resource: str = RESOURCE) -> None:
        """Blocks for a call to the head node. Raises RayError."""
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]  # it has no annotations
        has_own = resource in resources
        self.count = max(1, int(resources[resource if has_own else "CPU"]))
        """How many tasks the cluster takes at once."""
        self._work: Any = ray.remote(_work).options(
            # On a Ray that was started without the resource, its count of cores is the bound.
            **({"resources": {resource: 1}, "num_cpus": 0} if has_own else {"num_cpus": 1}),
            max_retries=DEATHS_MAX,
            runtime_env={"env_vars": dict(variables(resource))},
        )

    def submit(self, job: Job, *arguments: Any) -> ray.ObjectRef[Any]:
        """Have a worker call `job`, which may be anything that can be pickled; a reference to what it returns.

        Of arguments that are references the job gets the values; arrays in them are shared, not copied, and read-only.
        """
        result: ray.ObjectRef[Any] = self._work.remote(job, *arguments)
        return result

    async def run(self, job: Job, *arguments: Any, timeout_s: float) -> Any:
        """What `job` returns; raises what it raises, or AnalyticsUnavailable if there is no answer in time or workers die over it.

        A job whose time is up is ended together with its worker, so a job should know a bound of its own and end well before.
        One whose caller goes away goes on: interrupted while it loads JAX, its worker would be of no use to anybody.
        """
        reference = self.submit(job, *arguments)
        try:
            async with asyncio.timeout(timeout_s):
                return await reference
        except RayError as error:
            # First: what Ray raises for a job's own TimeoutError is both.
            raise raised_by_job(error) from error
        except TimeoutError as error:
            ray.cancel(reference, force=True)
            raise AnalyticsUnavailable(f"there is no result after {timeout_s:g} s") from error


def raised_by_job(error: RayError) -> Exception:
    """What a job raised, taken out of what Ray raises instead; AnalyticsUnavailable where it was not the job that failed."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, PortfolioError):
        return error.cause
    if isinstance(error, RayTaskError):
        return error
    return AnalyticsUnavailable(f"the workers failed: {type(error).__name__}")


def _work(job: Job, *arguments: Any) -> Any:
    _become_worker()
    return job(*arguments)


@cache
def _become_worker() -> None:
    """Let shards and replicas go first on a busy node, for the rest of this process' life."""
    os.nice(_NICENESS)
    # Before JAX is loaded, which reads it once.
    name_compiled_folder()
