"""Asking again when a shard is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from portfolio.errors import OutcomeUnknown, PortfolioError, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go on asking, and how often. A shard whose node died is back after some 20 seconds."""

    total_s: float = 90.0
    pause_first_s: float = 0.05
    pause_max_s: float = 2.0


def is_passing(error: PortfolioError) -> bool:
    """Whether the same request may succeed later. Safe for writes too, because all of ours bear a key."""
    return isinstance(error, Unavailable | OutcomeUnknown)


class Backoff:
    """Pauses that double, until success or the end of patience."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pause_s = patience.pause_first_s
        self._since: float | None = None

    def succeeded(self) -> None:
        """Begin anew at the next failure."""
        self._pause_s = self._patience.pause_first_s
        self._since = None

    async def pause(self, error: PortfolioError) -> None:
        """Wait before the next attempt. Raises `error` if the failures have gone on for too long."""
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
        if now - self._since >= self._patience.total_s:
            raise error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._patience.pause_max_s)


async def patiently(call: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """The result of `call`, repeated while it is Unavailable or its outcome unknown."""
    backoff = Backoff(patience)
    while True:
        try:
            return await call()
        except (Unavailable, OutcomeUnknown) as error:
            await backoff.pause(error)
