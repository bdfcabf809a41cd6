"""Tasks that live as long as each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

_CANCEL_AGAIN_S: Final = 0.2


async def first_to_end(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait until one of the tasks ends. Raises its error; of several, that of the first in line."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task in done:
            task.result()


async def end(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Cancel tasks until they have ended. Once is not enough: redis-py now and then takes a cancellation for a lost
    connection, which the publisher lives through.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
