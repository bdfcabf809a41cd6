"""Writes to one shard share actor calls: none is lost, none waits for ever, and none hears another's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from actors.protocol import Method
from cluster import handles
from cluster.handles import TOGETHER_BYTES_MAX, TOGETHER_MAX, UNDER_WAY_MAX, Lane, Request
from portfolio.errors import OutcomeUnknown, Overloaded, ShardUnavailable


class Shard:
    """Answers each payload with its own bytes, once it is let."""

    def __init__(self) -> None:
        self.calls: list[Sequence[Request]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def send(self, requests: Sequence[Request]) -> list[bytes]:
        self.calls.append(requests)
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [payload for _, payload in requests]


async def _asked(lane: Lane, payloads: Sequence[bytes]) -> list[asyncio.Task[bytes]]:
    tasks = [asyncio.ensure_future(lane.call(Method.UPDATE, payload)) for payload in payloads]
    for _ in range(2):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_while_calls_are_under_way_shares_the_next_one() -> None:
    shard = Shard()
    tasks = await _asked(Lane(shard.send), [b"%d" % number for number in range(50)])
    assert [len(call) for call in shard.calls] == [1] * UNDER_WAY_MAX
    shard.open.set()
    assert await asyncio.gather(*tasks) == [b"%d" % number for number in range(50)]
    assert len(shard.calls) == UNDER_WAY_MAX + 1


async def test_a_call_is_bounded_in_number_and_in_bytes() -> None:
    shard = Shard()
    shard.open.set()
    large = bytes(TOGETHER_BYTES_MAX // 2)
    payloads = [*([b"x"] * (UNDER_WAY_MAX + 2 * TOGETHER_MAX)), large, large, large]
    assert await asyncio.gather(*await _asked(Lane(shard.send), payloads)) == payloads
    assert max(map(len, shard.calls)) <= TOGETHER_MAX
    assert all(len(call) == 1 or sum(len(p) for _, p in call) <= TOGETHER_BYTES_MAX for call in shard.calls)


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), RuntimeError("a fault of ours")])
async def test_all_who_shared_a_call_hear_that_it_failed_and_later_ones_go_on(error: Exception) -> None:
    shard = Shard()
    lane = Lane(shard.send)
    tasks = await _asked(lane, [b"1", b"2", b"3", b"4"])
    shard.error = error
    shard.open.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 4
    shard.error = None
    assert await lane.call(Method.UPDATE, b"5") == b"5"


async def test_a_caller_that_goes_away_takes_nobody_with_it_and_leaves_nothing_behind() -> None:
    shard = Shard()
    first, second, third, fourth = await _asked(Lane(shard.send), [b"1", b"2", b"3", b"4"])
    first.cancel()
    third.cancel()
    await asyncio.sleep(0)
    shard.open.set()
    assert list(await asyncio.gather(second, fourth)) == [b"2", b"4"]
    # The third had not been sent: whoever gave it up may have asked again.
    assert [payload for call in shard.calls for _, payload in call] == [b"1", b"2", b"4"]


async def test_whoever_waits_too_long_is_told_whether_it_may_have_been_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "CALL_TIMEOUT_S", 0.05)
    shard = Shard()
    tasks = await _asked(Lane(shard.send), [b"1", b"2", b"3"])
    sent, also_sent, unsent = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(sent, OutcomeUnknown)
    assert isinstance(also_sent, OutcomeUnknown)
    assert isinstance(unsent, ShardUnavailable)


async def test_a_lane_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "WAITING_MAX", 3)
    lane = Lane(Shard().send)
    tasks = await _asked(lane, [b"x"] * (UNDER_WAY_MAX + 3))
    with pytest.raises(Overloaded):
        await lane.call(Method.UPDATE, b"one more")
    for task in tasks:
        task.cancel()


async def test_an_answer_too_few_is_told_to_everybody() -> None:
    async def send(requests: Sequence[Request]) -> list[bytes]:
        return []

    with pytest.raises(ValueError, match="shorter"):
        await asyncio.wait_for(Lane(send).call(Method.UPDATE, b"1"), 1)


def test_what_was_left_on_an_event_loop_that_has_ended_is_not_sent_on_the_next() -> None:
    shard = Shard()
    lane = Lane(shard.send)

    async def abandoned() -> None:
        await asyncio.wait(await _asked(lane, [b"1", b"2", b"3"]), timeout=0.01)

    asyncio.run(abandoned())
    shard.calls.clear()

    async def asked() -> bytes:
        shard.open = asyncio.Event()
        shard.open.set()
        return await lane.call(Method.UPDATE, b"4")

    assert asyncio.run(asked()) == b"4"
    assert [payload for call in shard.calls for _, payload in call] == [b"4"]
