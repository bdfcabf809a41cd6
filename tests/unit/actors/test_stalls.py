"""What holds an event loop up is counted, and named in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from actors.stalls import StallWatcher, stack_of, stalls_watched
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
    with caplog.at_level(logging.WARNING, "actors.stalls"), stalls_watched() as seen:
        await asyncio.sleep(0.05)
        before = seen.count
        # Whatever else the machine does, the log has a line for this one.
        caplog.clear()
        await asyncio.sleep(1.0)
        holding(0.1)
        await eventually(lambda: seen.count > before and seen.longest_s >= 0.08)
        assert seen.own >= (holding is working)
    assert any(holding.__name__ in record.getMessage() for record in caplog.records)


async def test_a_stall_in_which_nothing_ran_is_not_the_loops_own() -> None:
    watcher = StallWatcher()
    watcher.start()
    await asyncio.sleep(0.02)
    own = watcher.seen.own
    time.sleep(0.1)
    await eventually(lambda: watcher.seen.longest_s >= 0.08)
    watcher.stop()
    assert watcher.seen.own == own


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
    await asyncio.sleep(0.02)
    count = seen.count
    time.sleep(0.05)
    await asyncio.sleep(0.03)
    assert seen.count == count


def test_a_thread_without_a_stack_has_none() -> None:
    assert stack_of(None) == "no stack"
