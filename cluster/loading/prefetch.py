"""Reading ahead while what was read before is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import TypeVar

T = TypeVar("T")


async def one_ahead(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """The items, each made in a thread while the one before is in use; so at most two are in memory."""
    upcoming = _made(items)
    try:
        while (item := await upcoming) is not None:
            upcoming = _made(items)
            yield item
    finally:
        upcoming.cancel()


def _made(items: Iterator[T]) -> asyncio.Future[T | None]:
    upcoming = asyncio.ensure_future(asyncio.to_thread(next, items, None))
    # Whoever reads may stop before this one; then nobody asks for its error.
    upcoming.add_done_callback(lambda done: done.cancelled() or done.exception())
    return upcoming
