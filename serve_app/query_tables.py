"""What a query reads, brought together: books from the shards' memory, journal and prices from the database."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import Final

import polars as pl

from analytics import frames
from analytics.history import nav_histories
from analytics.panel import price_panel
from analytics.sql.kept_tables import KeptTables
from analytics.sql.kept_transactions import KeptTransactions
from analytics.sql.shared import SharedTable
from analytics.sql.tables import Table
from persistence.history import PostgresHistory
from persistence.migrate import read_cluster
from persistence.price_store import PostgresPriceStore
from persistence.transaction_text import transaction_text
from portfolio.book import MarkedBook
from portfolio.entries import Entry
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app.reaching import Reached, reached

_CONNECTIONS_MAX: Final = 2
_BOOKS_AT_ONCE: Final = 250
_LIVES_AT_ONCE: Final = 200
_TRIES_MAX: Final = 3
_SCHEMAS: Final[Mapping[Table, pl.Schema]] = {
    Table.PORTFOLIOS: frames.PORTFOLIOS,
    Table.POSITIONS: frames.POSITIONS,
    Table.TRANSACTIONS: frames.TRANSACTIONS,
    Table.PRICES: frames.PRICES,
    Table.HISTORY: frames.HISTORY,
}
_OF_BOOKS: Final = frozenset({Table.PORTFOLIOS, Table.POSITIONS, Table.HISTORY})

Books = Sequence[MarkedBook]
Frames = Mapping[Table, pl.DataFrame]
Descriptors = dict[Table, list[int]]


class QueryTables:
    """The tables of the service that has this database. What has not changed is kept from one query to the next."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._empty = {name: SharedTable(pl.DataFrame(schema=schema)) for name, schema in _SCHEMAS.items()}
        self._of_books, self._prices, self._history = KeptTables(), KeptTables(), KeptTables()
        self._transactions = KeptTransactions()

    async def load(self, wanted: Collection[Table]) -> Descriptors:
        """Descriptors of shared tables, good until the next call: those wanted with all rows, any other may have none.

        Raises ShardUnavailable, or QueryTooLarge if the journal is longer than a worker can keep.
        """
        found = {name: [table.fd] for name, table in self._empty.items()}
        if not wanted:
            return found
        async with reached(self._dsn, _CONNECTIONS_MAX) as service:
            if Table.TRANSACTIONS in wanted:
                found[Table.TRANSACTIONS] = await self._transactions_now(service)
            if Table.PRICES in wanted:
                found |= await self._prices_now(service)
            if not _OF_BOOKS.isdisjoint(wanted):
                books = await self._all_books(service)
                found |= await self._books_now(books)
                found |= await self._history_now(service, books) if Table.HISTORY in wanted else {}
        return found

    async def _transactions_now(self, service: Reached) -> list[int]:
        async with transaction_text(service.connections, self._transactions.heads) as text:
            await self._transactions.go_on(text.known, text.heads, text.chunks())
        return self._transactions.descriptors

    async def _prices_now(self, service: Reached) -> Descriptors:
        store = PostgresPriceStore(service.connections)

        async def make() -> Frames:
            return {Table.PRICES: await _all_prices(store)}

        return await self._prices.made_of(await store.generation(), make)

    async def _books_now(self, books: Books) -> Descriptors:
        async def make() -> Frames:
            made = frames.book_frames(books)
            return {Table.PORTFOLIOS: made.portfolios, Table.POSITIONS: made.positions}

        return await self._of_books.made_of(books, make)

    async def _history_now(self, service: Reached, books: Books) -> Descriptors:
        store = PostgresPriceStore(service.connections)

        async def make() -> Frames:
            panel = price_panel(await _all_prices(store))
            lives = await _lives(PostgresHistory(service.connections), books)
            return {Table.HISTORY: nav_histories(lives, panel)}

        return await self._history.made_of((await store.generation(), books), make)

    async def _all_books(self, service: Reached) -> Books:
        """The books that are committed now, with their marks. Raises ShardUnavailable."""
        shards = service.gateway.shards
        for _ in range(_TRIES_MAX):
            books = [book for shard in shards.shard_ids for book in await _books_of(service, shard)]
            # A shard that has split meanwhile may have been read after half of its books had left it.
            found = (await asyncio.to_thread(read_cluster, self._dsn)).shard_map
            if found.moduli == shards.moduli:
                return books
            shards = found
        raise ShardUnavailable("the shards are being doubled; ask again")


async def _books_of(service: Reached, shard_id: ShardId) -> Books:
    books: list[MarkedBook] = []
    while page := await service.gateway.marked_books(
        shard_id, books[-1].book.portfolio_id if books else "", _BOOKS_AT_ONCE
    ):
        books += page
    return books


async def _all_prices(store: PostgresPriceStore) -> pl.DataFrame:
    return frames.prices(await store.closes_csv(None, date.min, date.max))


async def _lives(history: PostgresHistory, books: Books) -> list[tuple[Sequence[Entry], MarkedBook]]:
    """Each book with everything that it is made of."""
    lives: list[tuple[Sequence[Entry], MarkedBook]] = []
    for some in _slices(books):
        spans = {marked.book.portfolio_id: (0, marked.book.version) for marked in some}
        entries = await history.later_entries(spans)
        lives += [(entries[marked.book.portfolio_id], marked) for marked in some]
    return lives


def _slices(books: Books) -> Iterator[Books]:
    """So many at a time as one statement is to read."""
    return (books[start : start + _LIVES_AT_ONCE] for start in range(0, len(books), _LIVES_AT_ONCE))
