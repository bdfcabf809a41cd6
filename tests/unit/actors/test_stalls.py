"""What holds an event loop up is counted, and named in the log."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable

import pytest

from actors.stalls import Beat, Stalls, stack_of, stalls_watched
from tests.support.shards import eventually


def sleeping(seconds: float) -> None:
    time.sleep(seconds)


def working(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("holding", [sleeping, working])
async def test_what_holds_the_loop_up_is_counted_and_named(
    holding: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    # A busy machine stalls by itself, and must not use up the line that this one is to have.
    with caplog.at_level(logging.WARNING, "actors.stalls"), stalls_watched(log_pause_s=0) as seen:
        deadline = time.monotonic() + 10
        # A thread that looks too late, as it may on a busy machine, finds that it is over.
        while not any(holding.__name__ in record.getMessage() for record in caplog.records):
            assert time.monotonic() < deadline, caplog.text
            await asyncio.sleep(0.05)
            holding(0.2)
            await asyncio.sleep(0.05)
    assert seen.count >= 1
    assert seen.longest_s >= 0.1


def test_a_stall_is_the_loops_own_if_it_ran_for_most_of_it() -> None:
    seen = Stalls()
    seen.add(Beat(0, 0.030, 0.016, 0))
    seen.add(Beat(0, 0.040, 0.001, 0))
    seen.add(Beat(0, 0.020, 0.010, 0))
    assert (seen.count, seen.own, seen.longest_s) == (3, 1, 0.040)


async def test_a_collection_of_garbage_is_named(caplog: pytest.LogCaptureFixture) -> None:
    garbage = [[number] for number in range(1_000_000)]
    with caplog.at_level(logging.WARNING, "actors.stalls"), stalls_watched(log_pause_s=0) as seen:
        await asyncio.sleep(0.02)
        for _ in range(5):
            gc.collect()
        await eventually(lambda: seen.count >= 1)
        await eventually(lambda: any(not record.getMessage().count("garbage for 0:") for record in caplog.records))
    assert len(garbage) == 1_000_000


async def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "actors.stalls"), stalls_watched() as seen:
        for _ in range(10):
            time.sleep(0.03)
            await asyncio.sleep(0.02)
        await eventually(lambda: seen.count >= 8)
    assert 1 <= len(caplog.records) <= 2


async def test_nothing_beats_once_watching_has_ended() -> None:
    with stalls_watched() as seen:
        await asyncio.sleep(0.02)
    # The thread counts what it still has, and may be late.
    await eventually(lambda: not any(thread.name == "stalls" for thread in threading.enumerate()))
    count = seen.count
    time.sleep(0.05)
    await asyncio.sleep(0.03)
    assert seen.count == count


def test_a_thread_without_a_stack_has_none() -> None:
    assert stack_of(None) == "no stack"
