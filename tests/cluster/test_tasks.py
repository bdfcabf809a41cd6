"""Analytics workers on the service's own Ray: what they take from shards, how long they live, what becomes of jobs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayTaskError

from analytics.tasks import Workers
from analytics.worker_environment import units
from portfolio.errors import AnalyticsUnavailable, PortfolioNotFound
from tests.cluster.service_process import ServiceProcess

pytestmark = pytest.mark.timeout(900)

# Of a busy machine, on which a worker may take long to start.
_PATIENCE_S = 200.0
# Ray ends idle workers after a second, unless told otherwise, and looks five times a second.
_IDLE_S = 3.0
# So long that tasks which are asked for together get a worker each.
_STARTING_S = 5.0


@pytest.fixture(scope="module")
def workers(joined: ServiceProcess) -> Workers:
    return Workers()


def _process() -> tuple[int, int, str]:
    return os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), os.environ["OMP_NUM_THREADS"]


def _interval(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def _die_once(trace: Path) -> str:
    if not trace.exists():
        trace.write_text("been here")
        os.kill(os.getpid(), signal.SIGKILL)
    return "done by another"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _time_out() -> None:
    raise TimeoutError("too slow")


def _refuse() -> None:
    raise PortfolioNotFound("there is no portfolio X", portfolio_id="X")


async def test_a_worker_gives_way_to_shards_and_stays_when_it_has_nothing_to_do(workers: Workers) -> None:
    pid, niceness, threads = await workers.run(_process, timeout_s=_PATIENCE_S)
    assert niceness > 0
    assert threads == "1"
    # By itself, Ray keeps as many idle workers as there are cores, the youngest.
    ray.get([ray.remote(num_cpus=0)(_interval).remote(_STARTING_S) for _ in range(units() + 3)])
    await asyncio.sleep(_IDLE_S)
    assert (await workers.run(_process, timeout_s=_PATIENCE_S))[0] == pid


async def test_a_core_is_left_to_the_shards(workers: Workers) -> None:
    jobs = [workers.run(_interval, 0.3, timeout_s=_PATIENCE_S) for _ in range(units() + 1)]
    spans = sorted(await asyncio.gather(*jobs))
    # One more than there is room for begins when another has ended.
    assert spans[-1][0] >= min(end for _, end in spans[:-1])


async def test_a_job_whose_worker_dies_is_done_by_another(workers: Workers, tmp_path: Path) -> None:
    assert await workers.run(_die_once, tmp_path / "trace", timeout_s=_PATIENCE_S) == "done by another"


async def test_a_job_that_no_worker_outlives_is_given_up(workers: Workers) -> None:
    with pytest.raises(AnalyticsUnavailable, match="workers failed"):
        await workers.run(_die, timeout_s=_PATIENCE_S)


async def test_a_job_that_does_not_end_is_ended_and_the_next_one_is_done(workers: Workers) -> None:
    await workers.run(_process, timeout_s=_PATIENCE_S)
    with pytest.raises(AnalyticsUnavailable, match="no result after 1 s"):
        await workers.run(_interval, 600.0, timeout_s=1)
    assert await workers.run(_process, timeout_s=_PATIENCE_S)


async def test_a_jobs_own_timeout_is_not_taken_for_that_of_its_caller(workers: Workers) -> None:
    with pytest.raises(RayTaskError, match="too slow"):
        await workers.run(_time_out, timeout_s=_PATIENCE_S)


async def test_an_error_of_ours_comes_back_as_it_was(workers: Workers) -> None:
    with pytest.raises(PortfolioNotFound) as raised:
        await workers.run(_refuse, timeout_s=_PATIENCE_S)
    assert type(raised.value) is PortfolioNotFound
    assert raised.value.cause == {"portfolio_id": "X"}
