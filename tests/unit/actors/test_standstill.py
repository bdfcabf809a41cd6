"""A process that stood still for longer than its lease: whoever asks then waits for a proof, and is not turned away."""

from __future__ import annotations

import asyncio

import pytest

from actors.gateway import Gateway
from actors.lease import boot_clock
from actors.protocol import Answer, Method
from actors.service import Service
from actors.shard import Shard
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from portfolio.sharding import ShardMap
from tests.oracles.memory_store import MemoryDatabase
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, eventually, memory_shard


class OneShard:
    """Calls one shard in this process, and counts how often."""

    def __init__(self, shard: Shard) -> None:
        self._service = Service(shard)
        self.calls = 0

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        self.calls += 1
        return (await self._service.answer(method, payload)).raised()


def stand_still(shard: Shard) -> None:
    """Let twice the time of a lease go by at once."""
    shard._lease.now = lambda: boot_clock() + 2 * FAST.lease_s


async def test_whoever_asks_then_is_served_once_the_lease_is_confirmed() -> None:
    async with memory_shard(MemoryDatabase()) as running:
        gateway = Gateway(OneShard(running.shard), ShardMap.even(1))
        await gateway.write(opened(1))
        stand_still(running.shard)
        with pytest.raises(ShardUnavailable) as refused:
            _ = running.shard.books
        assert refused.value.cause == {"shard": 0, "confirming": True}
        state, written, outcomes, page = await asyncio.gather(
            gateway.state(portfolio(1)),
            gateway.write(updated(1)),
            gateway.update_many([updated(1), updated(1)]),
            gateway.page("", 5, None),
        )
        assert b'"version":1' in (state.body or b"")
        assert b'"version":2' in (written.body or b"")
        assert [outcome.version for outcome in outcomes] == [3, 4]
        assert len(page) == 1


async def test_when_postgres_cannot_be_asked_they_are_told_at_once() -> None:
    async with memory_shard(MemoryDatabase()) as running:
        caller = OneShard(running.shard)
        gateway = Gateway(caller, ShardMap.even(1))
        await gateway.write(opened(1))
        running.journal.is_silent = True  # type: ignore[union-attr]
        await eventually(lambda: running.shard._is_doubted)
        stand_still(running.shard)
        caller.calls = 0
        with pytest.raises(ShardUnavailable) as refused:
            await gateway.state(portfolio(1))
        assert (refused.value.cause, caller.calls) == ({"shard": 0}, 1)
        running.journal.is_silent = False  # type: ignore[union-attr]
        await eventually(lambda: not running.shard._is_doubted)
        assert (await gateway.state(portfolio(1))).body
