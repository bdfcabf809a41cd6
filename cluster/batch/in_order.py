"""Calls that overlap, and results that come in the order of the calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


async def in_order(calls: Iterable[Callable[[], Awaitable[T]]], ahead: int) -> AsyncGenerator[T, None]:
    """The result of each call. At most `ahead` are under way or wait for one that was called before them.

    Raises what the first call to fail raises, when its turn comes; those after it are cancelled.
    """
    remaining = iter(calls)
    under_way = deque(asyncio.ensure_future(call()) for call in islice(remaining, ahead))
    try:
        while under_way:
            result = await under_way[0]
            under_way.popleft()
            under_way.extend(asyncio.ensure_future(call()) for call in islice(remaining, 1))
            yield result
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
