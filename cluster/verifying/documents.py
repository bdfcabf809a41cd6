"""The documents that a portfolio should show: made of a book, or asked of its owner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from actors.protocol import Answer
from actors.rendering import Encoded, encode
from cluster.verifying.memory import LaterEntries, advanced, patiently
from portfolio.book import Book, Mark
from portfolio.errors import PortfolioError, ShardUnavailable
from portfolio.ids import InstrumentId, PortfolioId

CALLS_AT_ONCE: Final = 32
_VERSION_MAX: Final = 2**63 - 1


class Documents(Protocol):
    """Where documents come from."""

    async def of(self, portfolio_ids: Sequence[PortfolioId]) -> dict[PortfolioId, Encoded]:
        """The documents of those portfolios that there are. Raises ShardUnavailable."""


class BookDocuments:
    """Documents of known books at known marks: no calls at all."""

    def __init__(self, books: Mapping[PortfolioId, Book], marks: Mapping[InstrumentId, Mark]) -> None:
        self._books = books
        self._marks = marks

    async def of(self, portfolio_ids: Sequence[PortfolioId]) -> dict[PortfolioId, Encoded]:
        """The documents of books and marks as they were given."""
        return {name: encode(self._books[name], self._marks) for name in portfolio_ids if name in self._books}


class GivenDocuments:
    """Documents that were asked for before."""

    def __init__(self, documents: Mapping[PortfolioId, Encoded]) -> None:
        self._documents = documents

    async def of(self, portfolio_ids: Sequence[PortfolioId]) -> dict[PortfolioId, Encoded]:
        """The documents as they were given."""
        return {name: self._documents[name] for name in portfolio_ids if name in self._documents}


class Market(Protocol):
    """The marks as they are now."""

    async def __call__(self) -> Mapping[InstrumentId, Mark]:
        """Every instrument's newest market mark."""


class JournalDocuments:
    """Documents of books that are brought up to the journal's end, at the newest marks."""

    def __init__(self, books: Mapping[PortfolioId, Book], journal: LaterEntries, market: Market) -> None:
        self._books = books
        self._journal = journal
        self._market = market

    async def of(self, portfolio_ids: Sequence[PortfolioId]) -> dict[PortfolioId, Encoded]:
        """The documents of now."""
        known = {name: self._books[name] for name in portfolio_ids if name in self._books}
        spans = {name: (book.version, _VERSION_MAX) for name, book in known.items()}
        later, marks = await self._journal.later_entries(spans), await self._market()
        books = {name: advanced(book, later[name]) for name, book in known.items()}
        return {name: encode(book, marks) for name, book in books.items() if book is not None}


class StateCaller(Protocol):
    """Asks a portfolio's owner, as Gateway does."""

    async def state(self, portfolio_id: PortfolioId, if_none_match: str | None = None) -> Answer:
        """The state of a portfolio."""


class OwnerDocuments:
    """The documents that owners give out, taken from the state, which holds the other two as they are."""

    def __init__(self, owners: StateCaller) -> None:
        self._owners = owners
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)

    async def of(self, portfolio_ids: Sequence[PortfolioId]) -> dict[PortfolioId, Encoded]:
        """The documents of now; of those whose owner has them."""
        found = await asyncio.gather(*(self._one(name) for name in portfolio_ids))
        return {name: documents for name, documents in zip(portfolio_ids, found, strict=True) if documents is not None}

    async def _one(self, portfolio_id: PortfolioId) -> Encoded | None:
        async with self._turns:
            try:
                answer = await patiently(lambda: self._owners.state(portfolio_id))
            except ShardUnavailable:
                raise
            except PortfolioError:
                return None
        return _encoded(answer)


def _encoded(answer: Answer) -> Encoded:
    version, _, revaluation = (answer.etag or "").strip('"').partition(".")
    return Encoded.of_state(int(version), int(revaluation), answer.body or b"")
