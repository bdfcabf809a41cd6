"""Long work on an event loop, in slices short enough for reads to pass in between."""

from __future__ import annotations

import asyncio
import time


class Pacer:
    """Yields to the loop whenever a slice of work has lasted long enough."""

    def __init__(self, slice_ms: float) -> None:
        self._slice_s = slice_ms / 1_000
        self._ends = time.perf_counter() + self._slice_s

    def is_due(self) -> bool:
        """Whether the loop has been held for a whole slice."""
        return time.perf_counter() >= self._ends

    async def rest(self) -> None:
        """Let the loop do what is due, and begin a new slice."""
        await asyncio.sleep(0)
        self._ends = time.perf_counter() + self._slice_s
