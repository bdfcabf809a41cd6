"""States of the past, rebuilt from the journal and valued at the last trade prices of their moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from actors.rendering import Encoded, encode
from persistence.history import VERSION_MAX, PostgresHistory
from portfolio.decide import NO_MARKS
from portfolio.entries import Entry, Opened
from portfolio.errors import InvalidRequest, PortfolioNotFound
from portfolio.ids import PortfolioId
from portfolio.ledger import replay

# Each holds a portfolio's whole life in memory while it is replayed.
_AT_ONCE: Final = asyncio.Semaphore(4)


async def past_state(
    history: PostgresHistory, portfolio_id: PortfolioId, *, version: int | None, as_of: datetime | None
) -> Encoded:
    """The state after `version`, or of what had taken effect at `as_of`.

    Raises PortfolioNotFound, also for a moment before the portfolio's first; InvalidRequest for a version not reached.
    """
    async with _AT_ONCE:
        return await _past_state(history, portfolio_id, version, as_of)


async def _past_state(
    history: PostgresHistory, portfolio_id: PortfolioId, version: int | None, as_of: datetime | None
) -> Encoded:
    entries = await history.entries(portfolio_id, version=version or VERSION_MAX, effective_at=as_of)
    if not entries or (as_of is not None and _began_after(entries, as_of)):
        raise PortfolioNotFound(f"there is no portfolio {portfolio_id}{_then(as_of)}", portfolio_id=portfolio_id)
    if version is not None and entries[-1].version != version:
        raise InvalidRequest(
            f"as_of_version is {version}, the portfolio is at version {entries[-1].version}", field="as_of_version"
        )
    # A long life takes a while to replay; other requests of this replica go on meanwhile.
    return await asyncio.to_thread(_encoded, entries)


def _encoded(entries: Sequence[Entry]) -> Encoded:
    return encode(replay(None, entries), NO_MARKS)


def _began_after(entries: Sequence[Entry], as_of: datetime) -> bool:
    return isinstance(entries[-1], Opened) and entries[-1].effective_at > as_of


def _then(as_of: datetime | None) -> str:
    return f" at {as_of.isoformat()}" if as_of is not None else ""
