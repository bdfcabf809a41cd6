"""Notices when something holds the event loop up, and says what: the tail of all latencies is made there."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

_log = logging.getLogger(__name__)

STALL_S: Final = 0.010
"""A loop that comes so much later than it was due has stalled."""
_BEAT_S: Final = 0.010
"""Twice as often costs 1.4 % of a core instead of 0.9 in a process that has nothing else to do."""
LOG_PAUSE_S: Final = 1.0
"""The log takes one line in this time, the counters take all."""
_STARVED_PAUSES: Final = 60
"""A machine that is short of CPU holds everything up, all the time: so much rarer are lines of what waited."""
_FRAMES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat that came late; since the last one the loop's thread ran for `ran_s`, and garbage was collected for `gc_s`."""

    due: float
    lag_s: float
    ran_s: float
    gc_s: float

    @property
    def is_own(self) -> bool:
        """Whether the loop was at work; else it waited, for the CPU, for another thread of Python, or for a device."""
        return self.ran_s > self.lag_s / 2


@dataclass(slots=True)
class Stalls:
    """What was seen since the process started: all stalls, and the loop's own among them."""

    count: int = 0
    own: int = 0
    longest_s: float = 0.0

    def add(self, beat: Beat) -> None:
        """Count a late beat."""
        self.count += 1
        self.own += beat.is_own
        self.longest_s = max(self.longest_s, beat.lag_s)


class StallWatcher:
    """Watches one event loop: it beats every 10 ms, and a thread looks what is running when a beat is overdue.

    What blocks waits for nobody, so it is the other thread that looks, counts and writes the log. A stall that is over
    before the next beat is due goes unseen; one of 20 ms does not.
    """

    def __init__(self, log_pause_s: float = LOG_PAUSE_S) -> None:
        self.seen = Stalls()
        self._log_pause_s = log_pause_s
        self._is_stopped = False
        self._late: deque[Beat] = deque()
        self._sampled: tuple[float, str] = (0.0, "")
        self._logged_at = float("-inf")

    def start(self) -> None:
        """Begin to watch the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._clock = _GarbageClock()
        self._ran_s = time.thread_time()
        self._due = time.perf_counter()
        self._beat()
        threading.Thread(target=self._watch, name="stalls", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._is_stopped = True
        self._clock.stop()

    def _beat(self) -> None:
        now, ran_s = time.perf_counter(), time.thread_time()
        if now - self._due > STALL_S:
            self._late.append(Beat(self._due, now - self._due, ran_s - self._ran_s, self._clock.spent_s))
        self._due, self._ran_s, self._clock.spent_s = now + _BEAT_S, ran_s, 0.0
        if not self._is_stopped:
            self._loop.call_later(_BEAT_S, self._beat)

    def _watch(self) -> None:
        while not self._is_stopped:
            # An event that can be waited for costs more than all that follows.
            time.sleep(_BEAT_S)
            due = self._due
            # Late, not yet for as long as a stall: when it has become one, it may be over before this thread wakes again.
            if time.perf_counter() - due > STALL_S / 2 and self._sampled[0] != due:
                self._sampled = (due, stack_of(sys._current_frames().get(self._thread_id)))
            while self._late:
                self._note(self._late.popleft())

    def _note(self, beat: Beat) -> None:
        self.seen.add(beat)
        now = time.perf_counter()
        if now - self._logged_at < self._log_pause_s * (1 if beat.is_own else _STARVED_PAUSES):
            return
        self._logged_at = now
        where = self._sampled[1] if self._sampled[0] == beat.due else "nothing was seen in time"
        told_ms = [round(seconds * 1_000) for seconds in (beat.lag_s, beat.ran_s, beat.gc_s)]
        _log.warning("stalled for %d ms, running for %d, collecting garbage for %d: %s", *told_ms, where)


class _GarbageClock:
    """How long the interpreter has been collecting garbage, since somebody last set it to 0."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._began = 0.0
        gc.callbacks.append(self._take)

    def _take(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.spent_s += time.perf_counter() - self._began

    def stop(self) -> None:
        gc.callbacks.remove(self._take)


def stack_of(frame: FrameType | None) -> str:
    """The innermost calls of a stack in one line, the innermost first."""
    if frame is None:
        return "no stack"
    found = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_FRAMES_SHOWN, lookup_lines=False)
    return " < ".join(f"{entry.name} ({entry.filename}:{entry.lineno})" for entry in found)


@contextmanager
def stalls_watched(log_pause_s: float = LOG_PAUSE_S) -> Iterator[Stalls]:
    """Meanwhile the running loop is watched; gives what is seen."""
    watcher = StallWatcher(log_pause_s)
    watcher.start()
    try:
        yield watcher.seen
    finally:
        watcher.stop()
