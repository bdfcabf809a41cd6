"""A process that stood still for longer than its lease: whoever asks then waits for a proof, and is not turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from actors.gateway import Gateway
from actors.lease import boot_clock
from actors.line import Place
from actors.protocol import Answer, Fault, Method, UpdateOutcome, pack
from actors.service import Service
from actors.shard import Shard
from actors.writer import Outcome
from portfolio.commands import Command
from portfolio.errors import InsufficientPosition, OutcomeUnknown, Overloaded, PortfolioError, ShardUnavailable
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
        await eventually(lambda: running.shard._lease.is_doubted)
        stand_still(running.shard)
        caller.calls = 0
        with pytest.raises(ShardUnavailable) as refused:
            await gateway.state(portfolio(1))
        assert (refused.value.cause, caller.calls) == ({"shard": 0}, 1)
        running.journal.is_silent = False  # type: ignore[union-attr]
        await eventually(lambda: not running.shard._lease.is_doubted)
        assert (await gateway.state(portfolio(1))).body


async def test_an_update_that_was_taken_in_before_is_booked_before_one_that_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of a call waits for its commit when the machine stands still; the second is turned away."""
    async with memory_shard(MemoryDatabase()) as running:
        gateway = Gateway(OneShard(running.shard), ShardMap.even(1))
        await gateway.write(opened(1))
        submit = running.shard.submit

        def submitted_before(command: Command, place: Place | None = None) -> asyncio.Future[Outcome]:
            monkeypatch.setattr(running.shard, "submit", submit)
            answer = submit(command, place)
            stand_still(running.shard)
            return answer

        monkeypatch.setattr(running.shard, "submit", submitted_before)
        outcomes = await gateway.update_many([updated(1), updated(1), updated(1)])
        assert [outcome.version for outcome in outcomes] == [2, 3, 4]


CONFIRMING = ShardUnavailable("the lease has ended", shard=0, confirming=True)


class InTurn:
    """Each call is answered by the next of `calls`; one more would be a mistake."""

    def __init__(self, *calls: Callable[[ShardId, Method, bytes], Awaitable[Answer]]) -> None:
        self._calls = iter(calls)

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        return await next(self._calls)(shard_id, method, payload)


def telling(*errors: PortfolioError) -> Callable[[ShardId, Method, bytes], Awaitable[Answer]]:
    """An answer to `update_many` with an error for each update."""

    async def tell(*_: object) -> Answer:
        return Answer(pack([UpdateOutcome(portfolio(1), fault=Fault.of(error)) for error in errors]))

    return tell


@pytest.mark.parametrize("first", [Overloaded("too many"), ShardUnavailable("refused"), OutcomeUnknown("silent")])
async def test_none_is_tried_again_behind_one_that_its_caller_has_to_try_again(first: PortfolioError) -> None:
    gateway = Gateway(InTurn(telling(first, CONFIRMING)), ShardMap.even(1))
    outcomes = await gateway.update_many([updated(1), updated(1)])
    assert [outcome.fault and outcome.fault.code for outcome in outcomes] == [first.code, ShardUnavailable.code]
    assert outcomes[1].fault is not None
    assert "before this one" in outcomes[1].fault.detail


async def test_one_that_was_rejected_for_good_holds_up_nobody() -> None:
    async with memory_shard(MemoryDatabase()) as running:
        shard = OneShard(running.shard)
        await Gateway(shard, ShardMap.even(1)).write(opened(1))
        gateway = Gateway(InTurn(telling(InsufficientPosition("none"), CONFIRMING), shard.call), ShardMap.even(1))
        first, second = await gateway.update_many([updated(1), updated(1)])
        assert first.fault is not None
        assert (first.fault.code, second.version) == (InsufficientPosition.code, 2)


async def test_a_caller_who_waited_through_the_standstill_is_not_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.gateway._SETTLING_S", 0.05)

    async def late(*_: object) -> Answer:
        await asyncio.sleep(0.1)
        raise ShardUnavailable(CONFIRMING.detail, **CONFIRMING.cause)

    async with memory_shard(MemoryDatabase()) as running:
        shard = OneShard(running.shard)
        await Gateway(shard, ShardMap.even(1)).write(opened(1))
        assert (await Gateway(InTurn(late, shard.call), ShardMap.even(1)).state(portfolio(1))).body
        assert await Gateway(InTurn(late, shard.call), ShardMap.even(1)).page("", 5, None)
