"""Successors of a shard whose mover is gone: one leaves by itself, one takes over from an owner that died half-way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psutil
import psycopg
import pytest
import ray

from actors.names import actor_name
from actors.settings import ShardConfig
from cluster.client import AsyncClient
from cluster.placement import actor_names, place
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of
from serve_app.finding import find_shard
from tests.cluster.service_process import ServiceProcess, is_alive, wait_until
from tests.cluster.test_failover import pid_of
from tests.cluster.test_moving import writing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def _portfolios(prefix: str) -> Sequence[PortfolioId]:
    return tuple(PortfolioId(f"{prefix}-{number:02}") for number in range(16))


def _owner(service: ServiceProcess) -> str:
    """The actor that is meant to own shard 1."""
    with psycopg.connect(service.postgres_dsn, autocommit=True) as connection:
        row = connection.execute("select actor from shards where shard_id = 1").fetchone()
        assert row is not None
        return str(row[0])


async def test_a_forgotten_successor_leaves_by_itself_and_hurts_nobody(joined: ServiceProcess) -> None:
    owner = await find_shard(ShardId(1))
    config: ShardConfig = await owner.config.remote()
    name = actor_name(ShardId(1), 99)
    forgotten: Any = place(
        replace(config, actor=name, is_successor=True, limits=replace(config.limits, stand_by_s=3.0))
    )
    await forgotten.ready.remote()
    assert not await forgotten.is_owner.remote(1)
    client = await AsyncClient.connect(joined.settings)
    portfolio_id = next(found for found in _portfolios("FORGOTTEN") if shard_of(found, 2) == 1)
    await client.create(portfolio_id)
    assert await asyncio.to_thread(wait_until, lambda: name not in actor_names(), 30.0)
    assert (await client.state(portfolio_id)).version == 1
    assert _owner(joined) == config.actor


async def test_a_successor_takes_over_by_itself_from_an_owner_that_is_killed_right_after_it_let_go(
    joined: ServiceProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with writing(joined, _portfolios("OWNER")) as writers:
        owner = await find_shard(ShardId(1))
        old = psutil.Process(await asyncio.to_thread(pid_of, 1))
        config: ShardConfig = await owner.config.remote()
        name = actor_name(ShardId(1), 7)
        heir: Any = place(replace(config, actor=name, is_successor=True))
        await heir.ready.remote()
        handing_over = owner.hand_over.remote(name)
        assert await asyncio.to_thread(wait_until, lambda: _owner(joined) == name, 30.0)
        # It leaves by itself once it has answered.
        with suppress(psutil.NoSuchProcess):
            old.kill()
        await heir.take_over.remote()
        with capsys.disabled():
            ended = "was on its way" if not ray.wait([handing_over], timeout=0)[0] else "had come"
            print(f"\n  the answer to the hand-over {ended} when its owner was killed")  # noqa: T201
        await asyncio.sleep(1)
        assert (await asyncio.to_thread(pid_of, 1)) == await heir.pid.remote()
        assert await asyncio.to_thread(wait_until, lambda: not is_alive(old), 30.0)
        moment = time.monotonic()
        assert await asyncio.to_thread(
            wait_until,
            lambda: all(writers.acknowledged[found][-1][0] > moment for found in _portfolios("OWNER")),
            30.0,
        )
    # Ray brings the old one back under its name; it is not meant any more, and leaves.
    assert await asyncio.to_thread(wait_until, lambda: config.actor not in actor_names(), 30.0)
