"""Moves and doublings whose processes are killed half-way: the shards serve, and the next attempt finishes the work."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import ray

from actors.names import actor_name
from actors.settings import ShardConfig
from cluster.client import AsyncClient
from cluster.moving import move
from cluster.placement import actor_names, place
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of
from serve_app.finding import find_shard
from tests.cluster.conftest import joined_service
from tests.cluster.service_process import ServiceProcess, wait_until
from tests.cluster.test_failover import pid_of
from tests.cluster.test_moving import writing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
COMMAND = Path(sys.executable).with_name("portfolio-state")
MOVE_FOR_EVER = """
import asyncio
from cluster.client import attach
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


@pytest.mark.soak
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


async def test_a_forgotten_successor_leaves_by_itself_and_hurts_nobody(service: ServiceProcess) -> None:
    owner = await find_shard(ShardId(1))
    config: ShardConfig = await owner.config.remote()
    name = actor_name(ShardId(1), 99)
    forgotten: Any = place(
        replace(config, actor=name, is_successor=True, limits=replace(config.limits, stand_by_s=0.5))
    )
    await forgotten.ready.remote()
    assert not await forgotten.is_owner.remote(1)
    client = await AsyncClient.connect(service.settings)
    portfolio_id = next(found for found in _portfolios("FORGOTTEN") if shard_of(found, 2) == 1)
    await client.create(portfolio_id)
    assert await asyncio.to_thread(wait_until, lambda: name not in actor_names(), 30.0)
    assert (await client.state(portfolio_id)).version == 1
    assert _one(service, "select actor from shards where shard_id = 1")[0] == config.actor


async def test_a_successor_takes_over_by_itself_from_an_owner_that_is_killed_right_after_it_let_go(
    service: ServiceProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with writing(service, _portfolios("OWNER")) as writers:
        owner = await find_shard(ShardId(1))
        old_pid = await asyncio.to_thread(pid_of, 1)
        config: ShardConfig = await owner.config.remote()
        name = actor_name(ShardId(1), 7)
        heir: Any = place(replace(config, actor=name, is_successor=True))
        await heir.ready.remote()
        handing_over = owner.hand_over.remote(name)
        await asyncio.to_thread(_await_release, service, name)
        psutil.Process(old_pid).kill()
        await heir.take_over.remote()
        with capsys.disabled():
            ended = "was on its way" if not ray.wait([handing_over], timeout=0)[0] else "had come"
            print(f"\n  the answer to the hand-over {ended} when its owner was killed")  # noqa: T201
        await asyncio.sleep(1)
        assert (await asyncio.to_thread(pid_of, 1)) == await heir.pid.remote()
        assert not psutil.pid_exists(old_pid)
        moment = time.monotonic()
        await asyncio.sleep(1)
        last = {found: writers.acknowledged[found][-1][0] for found in _portfolios("OWNER")}
        assert min(last.values()) > moment
    # Ray brings the old one back under its name; it is not meant any more, and leaves.
    assert await asyncio.to_thread(wait_until, lambda: config.actor not in actor_names(), 30.0)


def _await_release(service: ServiceProcess, name: str) -> None:
    with psycopg.connect(service.postgres_dsn, autocommit=True) as connection:
        deadline = time.monotonic() + 30
        while connection.execute("select actor from shards where shard_id = 1").fetchone() != (name,):
            assert time.monotonic() < deadline


@pytest.mark.soak
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
