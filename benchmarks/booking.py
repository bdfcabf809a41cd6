"""Updates booked through a gateway, call after call, several under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from actors.gateway import Gateway
from portfolio.commands import UpdatePortfolio


async def book(gateway: Gateway, calls: Iterable[Sequence[UpdatePortfolio]], callers: int) -> None:
    """Return once every call is acknowledged. Raises RuntimeError if an update is refused."""
    left = iter(calls)

    async def caller() -> None:
        for call in left:
            outcomes = await gateway.update_many(call)
            failed = [outcome.fault for outcome in outcomes if outcome.fault]
            if failed:
                raise RuntimeError(f"not booked: {failed[0]}")

    await asyncio.gather(*(caller() for _ in range(callers)))
