"""States of the past, rebuilt from the journal and valued at the closes and trade prices of their moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zlib import crc32

from actors.protocol import Answer
from actors.rendering import Encoded, encode
from persistence.history import VERSION_MAX, PostgresHistory
from persistence.price_store import PostgresPriceStore
from portfolio.book import Book
from portfolio.entries import Booked, Entry, Opened
from portfolio.errors import InvalidRequest, PortfolioNotFound
from portfolio.ids import PortfolioId
from portfolio.ledger import replay

# Each holds a portfolio's whole life in memory while it is replayed.
_AT_ONCE: Final = asyncio.Semaphore(4)


async def past_state(
    history: PostgresHistory,
    prices: PostgresPriceStore,
    portfolio_id: PortfolioId,
    *,
    version: int | None,
    as_of: datetime | None,
) -> Answer:
    """The state after `version`, or of what had taken effect at `as_of`, valued at the newest prices known by then.

    Raises PortfolioNotFound, also for a moment before the portfolio's first; InvalidRequest for a version not reached.
    """
    async with _AT_ONCE:
        entries = await _entries(history, portfolio_id, version, as_of)
        # A long life takes a while to replay; other requests of this replica go on meanwhile.
        book = await asyncio.to_thread(replay, None, entries)
        marks = await prices.closing_marks(book.positions, as_of or _moment(book, entries))
        return _answer(await asyncio.to_thread(encode, book, marks))


async def _entries(
    history: PostgresHistory, portfolio_id: PortfolioId, version: int | None, as_of: datetime | None
) -> Sequence[Entry]:
    entries = await history.entries(portfolio_id, version=version or VERSION_MAX, effective_at=as_of)
    if not entries or (as_of is not None and _began_after(entries, as_of)):
        raise PortfolioNotFound(f"there is no portfolio {portfolio_id}{_then(as_of)}", portfolio_id=portfolio_id)
    if version is not None and entries[-1].version != version:
        raise InvalidRequest(
            f"as_of_version is {version}, the portfolio is at version {entries[-1].version}", field="as_of_version"
        )
    return entries


def _moment(book: Book, entries: Sequence[Entry]) -> datetime:
    """When the last booking took effect: the moment whose prices a version is valued at.

    Not when it was recorded: years of trades that are loaded today would all be valued at today's prices, and what was
    held before a split at prices after it.
    """
    bookings = (entry.effective_at for entry in reversed(entries) if isinstance(entry, Booked))
    return next(bookings, book.created_at)


def _answer(past: Encoded) -> Answer:
    if not past.revaluation:
        return Answer(past.state, past.etag)
    # A close that is corrected has another price at the same time, which a tag that is made of times would not tell.
    return Answer(past.state, f'"{past.version}.{crc32(past.state)}"')


def _began_after(entries: Sequence[Entry], as_of: datetime) -> bool:
    return isinstance(entries[-1], Opened) and entries[-1].effective_at > as_of


def _then(as_of: datetime | None) -> str:
    return f" at {as_of.isoformat()}" if as_of is not None else ""
