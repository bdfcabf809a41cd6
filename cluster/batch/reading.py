"""What a task reads of its portfolios: books and marks from the shards that own them, and their journals from Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from cluster.batch.chunks import Chunk, Page
from cluster.patience import Patience, patiently
from persistence.history import PostgresHistory
from portfolio.book import MarkedBook
from portfolio.entries import Entry
from portfolio.errors import PortfolioQuarantined
from portfolio.ids import PortfolioId, ShardId
from serve_app.reaching import reached

ROWS_MAX: Final = 50_000
"""Journal rows in memory at a time, at about 2 kB each; a portfolio that has more is read alone."""
PATIENCE: Final = Patience()

Life = tuple[Sequence[Entry], MarkedBook]
"""All that was booked in a portfolio up to the version that it has, and as what it is known now."""


@dataclass(slots=True)
class Found:
    """The books of a chunk, and why those that are not among them are in quarantine."""

    books: dict[PortfolioId, MarkedBook] = field(default_factory=dict)
    quarantined: dict[PortfolioId, str] = field(default_factory=dict)


class Owners(Protocol):
    """The shards, as Gateway reaches them."""

    async def marked_book(self, portfolio_id: PortfolioId) -> MarkedBook: ...

    async def marked_books(self, shard_id: ShardId, after: str, limit: int) -> list[MarkedBook]: ...


class Reader:
    """Reads on while a shard or Postgres is away, for as long as it is patient; then it raises ShardUnavailable."""

    def __init__(self, owners: Owners, history: PostgresHistory, patience: Patience = PATIENCE) -> None:
        self._owners = owners
        self._history = history
        self._patience = patience

    async def books(self, chunk: Chunk) -> Found:
        """The books of a chunk, wherever they are now. Raises PortfolioNotFound."""
        found = Found()
        if chunk.page is not None:
            await self._read_page(chunk.page, chunk.portfolio_ids, found)
        # Asked for by name; or they have gone to another shard since they were listed, or are in quarantine.
        for portfolio_id in chunk.portfolio_ids:
            if portfolio_id not in found.books:
                await self._read_one(portfolio_id, found)
        return found

    async def _read_page(self, page: Page, portfolio_ids: Sequence[PortfolioId], found: Found) -> None:
        wanted, after = frozenset(portfolio_ids), page.after
        while after < portfolio_ids[-1]:
            books = await patiently(
                lambda after=after: self._owners.marked_books(page.shard_id, after, len(wanted)),  # type: ignore[misc]
                self._patience,
            )
            if not books:
                return
            # Others may have been opened between them since.
            found.books.update({one.book.portfolio_id: one for one in books if one.book.portfolio_id in wanted})
            after = books[-1].book.portfolio_id

    async def _read_one(self, portfolio_id: PortfolioId, found: Found) -> None:
        try:
            book = await patiently(lambda: self._owners.marked_book(portfolio_id), self._patience)
            found.books[portfolio_id] = book
        except PortfolioQuarantined as error:
            found.quarantined[portfolio_id] = str(error.cause["reason"])

    async def lives(self, books: Iterable[MarkedBook]) -> AsyncIterator[list[Life]]:
        """Those portfolios with their journals, as many at a time as may be in memory."""
        for group in _groups(books):
            spans = {one.book.portfolio_id: (0, one.book.version) for one in group}
            entries = await patiently(lambda spans=spans: self._history.later_entries(spans), self._patience)  # type: ignore[misc]
            yield [(entries[one.book.portfolio_id], one) for one in group]


def _groups(books: Iterable[MarkedBook]) -> Iterator[list[MarkedBook]]:
    """Some books at a time, whose versions tell how many rows there are of each."""
    group: list[MarkedBook] = []
    rows = 0
    for one in books:
        if group and rows + one.book.version > ROWS_MAX:
            yield group
            group, rows = [], 0
        group.append(one)
        rows += one.book.version
    if group:
        yield group


@asynccontextmanager
async def reader(postgres_dsn: str) -> AsyncIterator[Reader]:
    """A reader of the service on this process' Ray. It asks the shards themselves, and no REST replica."""
    async with AsyncExitStack() as stack:
        service = await patiently(lambda: stack.enter_async_context(reached(postgres_dsn, connections_max=1)), PATIENCE)
        yield Reader(service.gateway, PostgresHistory(service.connections))
