"""After the chaos: what the service shows, held against the journal's own account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import httpx

from portfolio.ids import InstrumentId
from tests.chaos.journal_reading import Truth
from tests.chaos.told import Told

_MARKS_WITHIN_S: Final = 15.0
_POLL_S: Final = 0.5


def lost_marks(told: Told, truth: Truth) -> Iterator[str]:
    """Marks that were acknowledged and are not there."""
    for instrument_id, (price, as_of) in told.marks.items():
        kept = truth.marks[InstrumentId(instrument_id)]
        # A mark whose answer was lost may be newer than the last one acknowledged.
        if (kept.time, kept.price) != (as_of, price) and kept.time <= as_of:
            yield f"the mark of {instrument_id} is {kept}, expected {price} of {as_of} or a later one"


async def wrong_states(base_url: str, truth: Truth) -> list[str]:
    """Documents over REST that differ, by as much as a byte, from what the journal amounts to."""
    wrong: list[str] = []
    async with httpx.AsyncClient(base_url=f"{base_url}/api/v1", timeout=_MARKS_WITHIN_S) as http:
        for portfolio_id, document in truth.documents().items():
            for part, expected in (("state", document.state), ("positions", document.positions)):
                found = await _settled(http, f"/portfolio/{portfolio_id}/{part}", expected)
                if found != expected:
                    wrong.append(f"{part} of {portfolio_id} is {found!r}, expected {expected!r}")
    return wrong


async def _settled(http: httpx.AsyncClient, path: str, expected: bytes) -> bytes:
    """The document once it is as expected, else as it is after a while: marks take a refresh interval to show."""
    deadline = asyncio.get_running_loop().time() + _MARKS_WITHIN_S
    while True:
        found = (await http.get(path)).content
        if found == expected or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(_POLL_S)
