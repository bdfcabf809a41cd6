"""Calls that overlap give their results in order, and never pile up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial

import pytest

from cluster.batch.in_order import in_order


class Calls:
    """Calls that end when told to."""

    def __init__(self, count: int) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self._ends = [asyncio.Event() for _ in range(count)]
        self.all: list[Callable[[], Awaitable[int]]] = [partial(self._call, number) for number in range(count)]

    def end(self, *numbers: int) -> None:
        for number in numbers:
            self._ends[number].set()

    async def _call(self, number: int) -> int:
        self.begun.append(number)
        try:
            await self._ends[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number


async def test_results_come_in_the_order_of_the_calls_whichever_ends_first() -> None:
    calls = Calls(5)
    results = in_order(calls.all, ahead=5)
    first = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    calls.end(4, 3, 2, 1)
    await asyncio.sleep(0)
    assert not first.done()
    calls.end(0)
    assert await first == 0
    assert [result async for result in results] == [1, 2, 3, 4]


async def test_no_more_are_begun_than_may_wait_for_the_first() -> None:
    calls = Calls(5)
    results = in_order(calls.all, ahead=3)
    first = asyncio.ensure_future(anext(results))
    calls.end(1, 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls.begun == [0, 1, 2]
    calls.end(0)
    assert await first == 0
    await asyncio.sleep(0)
    assert calls.begun == [0, 1, 2, 3]
    calls.end(3, 4)
    assert [result async for result in results] == [1, 2, 3, 4]


async def test_no_calls_give_no_results() -> None:
    assert [result async for result in in_order(Calls(0).all, ahead=3)] == []


async def test_a_failure_is_raised_in_its_turn_and_ends_the_others() -> None:
    calls = Calls(4)

    async def fail() -> int:
        raise LookupError("it failed")

    calls.end(0)
    results = in_order([calls.all[0], fail, *calls.all[2:]], ahead=3)
    assert await anext(results) == 0
    await asyncio.sleep(0)
    with pytest.raises(LookupError, match="it failed"):
        await anext(results)
    assert calls.cancelled == [2, 3]


async def test_who_stops_early_leaves_nothing_under_way() -> None:
    calls = Calls(4)
    calls.end(0)
    async with aclosing(in_order(calls.all, ahead=3)) as results:
        assert await anext(results) == 0
        await asyncio.sleep(0)
    assert calls.cancelled == [1, 2, 3]
