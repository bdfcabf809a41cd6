"""Moves and doublings whose processes are killed half-way: the shards serve, and the next attempt finishes the work."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cluster.client import AsyncClient
from cluster.moving import move
from cluster.placement import actor_names
from portfolio.ids import PortfolioId, ShardId
from serve_app.finding import find_shard
from tests.cluster.conftest import joined_service
from tests.cluster.service_process import ServiceProcess, wait_until
from tests.cluster.test_moving import writing

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(600)]
COMMAND = Path(sys.executable).with_name("portfolio-state")
MOVE_FOR_EVER = """
import asyncio
from cluster.attaching import attach
from cluster.moving import move
from portfolio.ids import ShardId

attach()
while True:
    asyncio.run(move(ShardId(0)))
"""


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    """A service of two shards, which the last test of this module doubles."""
    with joined_service() as service:
        yield service


def _portfolios(prefix: str) -> Sequence[PortfolioId]:
    return tuple(PortfolioId(f"{prefix}-{number:02}") for number in range(16))


def _launched(service: ServiceProcess, *command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=service.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _one(service: ServiceProcess, query: str) -> Any:
    with psycopg.connect(service.postgres_dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchone()


async def _killed_once(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    """Kill a process with -9 as soon as `is_so`. Fails if it ends before, or if that takes too long."""
    with process:
        try:
            assert await asyncio.to_thread(wait_until, is_so, 60.0)
            assert process.poll() is None, process.stdout and process.stdout.read()
        finally:
            process.kill()


async def test_a_mover_that_is_killed_leaves_the_shard_served_and_movable(service: ServiceProcess) -> None:
    async with writing(service, _portfolios("MOVER")) as writers:
        known = actor_names()
        mover = _launched(service, sys.executable, "-c", MOVE_FOR_EVER)
        await _killed_once(mover, lambda: bool(actor_names() - known))
        written = len(writers.acknowledged[_portfolios("MOVER")[0]])
        await asyncio.sleep(1)
        assert len(writers.acknowledged[_portfolios("MOVER")[0]]) > written
        moved = await move(ShardId(0))
        assert moved.paused_s < 5
        # One owner, whichever of the successors that is.
        handle = await find_shard(ShardId(0))
        assert (await handle.config.remote()).actor == _one(service, "select actor from shards where shard_id = 0")[0]


async def test_a_doubling_that_is_killed_twice_is_gone_on_with(service: ServiceProcess) -> None:
    portfolios = _portfolios("DOUBLED")
    async with writing(service, portfolios):
        begun = _launched(service, COMMAND, "reshard", "4")
        await _killed_once(begun, lambda: _one(service, "select doubling_to from cluster") == (4,))
        split = _launched(service, COMMAND, "reshard", "4")
        await _killed_once(split, lambda: "has split" in (split.stdout.readline() if split.stdout else ""))
        assert _one(service, "select shard_count, doubling_to from cluster") == (2, 4)
        done = await asyncio.to_thread(_run, service, "reshard", "4")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "there are 4 shards" in done.stdout
    assert _one(service, "select shard_count, doubling_to, (select count(*) from shards) from cluster") == (4, None, 4)
    verified = await asyncio.to_thread(_run, service, "verify", "--deep", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    found = json.loads(verified.stdout)
    assert (found["differences"], found["failed"], found["not_compared"]) == ([], {}, {})
    client = await AsyncClient.connect(service.settings)
    assert len(await client.shard_statuses()) == 4
    async with httpx.AsyncClient(base_url=f"{service.base_url}/api/v1", timeout=10) as http:
        for portfolio_id in portfolios:
            answer = (await http.get(f"/portfolio/{portfolio_id}/state")).raise_for_status()
            assert answer.json()["version"] == (await client.state(portfolio_id)).version


def _run(service: ServiceProcess, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *command], env=service.environment(), capture_output=True, text=True, timeout=120, check=False
    )
