"""Long work on an event loop, in slices short enough for reads to pass in between."""

from __future__ import annotations

import asyncio
import time


class Pacer:
    """Yields to the loop whenever a slice of work has lasted long enough.

    Work in the background leaves the loop alone for longer than it holds it: with a `share` of 0.25, a slice of 2 ms is
    followed by a rest of 6 ms.
    """

    def __init__(self, slice_ms: float, share: float = 1.0) -> None:
        self._slice_s = slice_ms / 1_000
        self._rest_s = self._slice_s * (1 / share - 1)
        self._ends = time.perf_counter() + self._slice_s

    def is_due(self) -> bool:
        """Whether the loop has been held for a whole slice."""
        return time.perf_counter() >= self._ends

    async def rest(self) -> None:
        """Let the loop do what is due, and begin a new slice."""
        await asyncio.sleep(self._rest_s)
        self._ends = time.perf_counter() + self._slice_s
