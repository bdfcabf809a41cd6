"""The committed state of a shard in memory: its books, the marks, and the documents made of them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from actors.documents import Encoded, SummaryDocument, encode, summary_document
from actors.pacing import Pacer
from portfolio.book import Book, Mark
from portfolio.errors import PortfolioNotFound
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.valuation import value


class Books:
    """Books by portfolio. A document is encoded when first asked for, and kept until its book or a mark changes."""

    def __init__(self, books: Mapping[PortfolioId, Book], marks: Mapping[InstrumentId, Mark]) -> None:
        self.marks: dict[InstrumentId, Mark] = dict(marks)
        self._books: dict[PortfolioId, Book] = {}
        self._ids: list[PortfolioId] = []
        self._documents: dict[PortfolioId, Encoded] = {}
        self._holders: dict[InstrumentId, set[PortfolioId]] = defaultdict(set)
        self._moved: set[InstrumentId] = set()
        for portfolio_id in sorted(books):
            self.replace(books[portfolio_id])

    def __len__(self) -> int:
        return len(self._books)

    def __iter__(self) -> Iterator[Book]:
        return iter(self._books.values())

    def find(self, portfolio_id: PortfolioId) -> Book | None:
        """The committed book, if there is one."""
        return self._books.get(portfolio_id)

    def get(self, portfolio_id: PortfolioId) -> Book:
        """The committed book. Raises PortfolioNotFound."""
        book = self._books.get(portfolio_id)
        if book is None:
            raise PortfolioNotFound(f"there is no portfolio {portfolio_id}", portfolio_id=portfolio_id)
        return book

    def replace(self, book: Book) -> None:
        """Take a book that was committed in place of the one before it."""
        known = self._books.get(book.portfolio_id)
        if known is None:
            insort(self._ids, book.portfolio_id)
        self._index(known, book)
        self._books[book.portfolio_id] = book
        self._documents.pop(book.portfolio_id, None)

    def drop(self, portfolio_ids: Iterable[PortfolioId]) -> None:
        """Forget portfolios that have their home elsewhere now."""
        gone = set(portfolio_ids)
        for portfolio_id in gone:
            for instrument_id in self._books.pop(portfolio_id).positions:
                self._holders[instrument_id].discard(portfolio_id)
            self._documents.pop(portfolio_id, None)
        self._ids = [portfolio_id for portfolio_id in self._ids if portfolio_id not in gone]

    def _index(self, known: Book | None, book: Book) -> None:
        before = known.positions.keys() if known is not None else frozenset()
        if before == book.positions.keys():
            return
        for opened in book.positions.keys() - before:
            self._holders[opened].add(book.portfolio_id)
        for closed in before - book.positions.keys():
            self._holders[closed].discard(book.portfolio_id)

    def documents(self, portfolio_id: PortfolioId) -> Encoded:
        """The encoded state of a portfolio. Raises PortfolioNotFound."""
        known = self._documents.get(portfolio_id)
        if known is None:
            known = self._documents[portfolio_id] = encode(self.get(portfolio_id), self.marks)
        return known

    def documents_of(self, book: Book) -> Encoded:
        """The encoded state of `book`, which may have been replaced since."""
        if self._books.get(book.portfolio_id) is book:
            return self.documents(book.portfolio_id)
        return encode(book, self.marks)

    async def page(self, after: str, limit: int, status: Status | None, pacer: Pacer) -> list[SummaryDocument]:
        """At most `limit` portfolios whose ids follow `after`, ordered by id."""
        found: list[SummaryDocument] = []
        # The copy of the ids holds still while portfolios are opened in between.
        for portfolio_id in self._ids[bisect_right(self._ids, after) :]:
            book = self._books.get(portfolio_id)
            if book is None:
                # It has gone to another shard since.
                continue
            if status is None or book.status is status:
                found.append(summary_document(book, value(book, self.marks)))
                if len(found) == limit:
                    break
            if pacer.is_due():
                await pacer.rest()
        return found

    def mark(self, marks: Mapping[InstrumentId, Mark]) -> None:
        """Take market marks; the newer one of an instrument stays. They show in documents after `revalue`."""
        for instrument_id, mark in marks.items():
            known = self.marks.get(instrument_id)
            if known is None or mark.time > known.time:
                self.marks[instrument_id] = mark
                self._moved.add(instrument_id)

    def revalue(self) -> Iterable[PortfolioId]:
        """Drop the documents of portfolios whose instruments were marked; gives those portfolios."""
        if not self._moved:
            return ()
        moved, self._moved = self._moved, set()
        touched = set().union(*(self._holders.get(instrument_id, ()) for instrument_id in moved))
        for portfolio_id in touched:
            self._documents.pop(portfolio_id, None)
        return touched
