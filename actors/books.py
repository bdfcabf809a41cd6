"""The committed state of a shard in memory: its books, the marks, and the documents made of them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from actors.documents import SummaryDocument, summary_document
from actors.pacing import Pacer
from actors.rendering import Encoded, Rendering
from portfolio.book import Book, Mark, MarkedBook
from portfolio.errors import PortfolioNotFound, PortfolioQuarantined
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.valuation import Valuation, value

PARTS_MAX: Final = 100_000
"""Positions of busy portfolios whose parts are kept, at 1.6 kB each, besides the documents of all portfolios."""


class Books:
    """Books by portfolio. A document is encoded when first asked for, and kept until its book or a mark changes."""

    def __init__(
        self,
        books: Mapping[PortfolioId, Book],
        marks: Mapping[InstrumentId, Mark],
        quarantined: Mapping[PortfolioId, str] = MappingProxyType({}),
    ) -> None:
        self._quarantined: dict[PortfolioId, str] = dict(quarantined)
        self.marks: dict[InstrumentId, Mark] = dict(marks)
        self._books: dict[PortfolioId, Book] = {}
        self._ids: list[PortfolioId] = []
        self._documents: dict[PortfolioId, Encoded] = {}
        # The newest of each portfolio that is busy, the one that changed last at the end; the next one of the same
        # portfolio has most of it in common.
        self._renderings: dict[PortfolioId, Rendering] = {}
        self._parts = 0
        self._holders: dict[InstrumentId, set[PortfolioId]] = defaultdict(set)
        self._moved: set[InstrumentId] = set()
        self._foreseen: dict[PortfolioId, Rendering] = {}
        for portfolio_id in sorted(books):
            self.replace(books[portfolio_id])

    def __len__(self) -> int:
        return len(self._books)

    def __iter__(self) -> Iterator[Book]:
        return iter(self._books.values())

    @property
    def quarantined(self) -> Mapping[PortfolioId, str]:
        """The portfolios that exist and whose books are not known, and why."""
        return self._quarantined

    def check_not_quarantined(self, portfolio_id: PortfolioId) -> None:
        """Raises PortfolioQuarantined."""
        reason = self._quarantined.get(portfolio_id)
        if reason is not None:
            raise PortfolioQuarantined(
                f"portfolio {portfolio_id} is in quarantine: {reason}", portfolio_id=portfolio_id, reason=reason
            )

    def restore(self, book: Book) -> None:
        """Take a book out of quarantine."""
        del self._quarantined[book.portfolio_id]
        self.replace(book)

    def keep_quarantined(self, portfolio_id: PortfolioId, reason: str) -> None:
        """Leave a portfolio in quarantine, for the reason found now."""
        self._quarantined[portfolio_id] = reason

    def held(self, portfolio_id: PortfolioId) -> Book | None:
        """The committed book; None if there is none, or if it is in quarantine."""
        return self._books.get(portfolio_id)

    def portfolio_ids(self) -> list[PortfolioId]:
        """Every portfolio that exists here, those in quarantine among them."""
        return [*self._books, *self._quarantined]

    def find(self, portfolio_id: PortfolioId) -> Book | None:
        """The committed book, if there is one. Raises PortfolioQuarantined."""
        book = self._books.get(portfolio_id)
        if book is None:
            self.check_not_quarantined(portfolio_id)
        return book

    def get(self, portfolio_id: PortfolioId) -> Book:
        """The committed book. Raises PortfolioNotFound or PortfolioQuarantined."""
        book = self.find(portfolio_id)
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
            self._quarantined.pop(portfolio_id, None)
            self._documents.pop(portfolio_id, None)
            self._let_go(portfolio_id)
            known = self._books.pop(portfolio_id, None)
            for instrument_id in known.positions if known is not None else ():
                self._holders[instrument_id].discard(portfolio_id)
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
        """The encoded state of a portfolio. Raises PortfolioNotFound or PortfolioQuarantined."""
        # Of one that is only looked at, no parts are kept: they would push out those that change.
        return self._encoded(self.get(portfolio_id), keep=portfolio_id in self._renderings)

    def documents_of(self, book: Book) -> Encoded:
        """The encoded state of `book`, which was committed lately and may have been replaced since."""
        if self._books.get(book.portfolio_id) is book:
            return self._encoded(book, keep=True)
        return self._rendered(book, keep=False).encoded()

    def _encoded(self, book: Book, *, keep: bool) -> Encoded:
        """The documents of the book that is committed now; they stay as they are until it or a mark changes."""
        known = self._documents.get(book.portfolio_id)
        if known is None:
            known = self._documents[book.portfolio_id] = self._rendered(book, keep=keep).encoded()
        return known

    def event(self, book: Book, committed_at: datetime) -> bytes:
        """What the stream says of `book`, which was committed lately and may have been replaced since."""
        return self._rendered(book, keep=True).event(committed_at)

    def valuation(self, book: Book) -> Valuation:
        """What `book` is worth at the marks known."""
        known = self._rendering_of(book, self._renderings)
        return known.valuation if known is not None else value(book, self.marks)

    def foresee(self, books: Iterable[Book]) -> None:
        """Render books that are about to be committed, so that their documents are ready when they are."""
        self._foreseen = {
            book.portfolio_id: Rendering(book, self.marks, self._renderings.get(book.portfolio_id)) for book in books
        }
        for rendering in self._foreseen.values():
            rendering.encoded()

    def _rendering_of(self, book: Book, among: Mapping[PortfolioId, Rendering]) -> Rendering | None:
        """The one of this very book at the marks known now."""
        known = among.get(book.portfolio_id)
        return known if known is not None and known.book is book and known.is_at(self.marks) else None

    def _rendered(self, book: Book, *, keep: bool) -> Rendering:
        known = self._rendering_of(book, self._renderings)
        if known is not None:
            return known
        rendering = self._rendering_of(book, self._foreseen)
        if rendering is None:
            rendering = Rendering(book, self.marks, self._renderings.get(book.portfolio_id))
        if keep and self._books.get(book.portfolio_id) is book:
            self._keep(rendering)
        return rendering

    def _keep(self, rendering: Rendering) -> None:
        self._let_go(rendering.book.portfolio_id)
        self._renderings[rendering.book.portfolio_id] = rendering
        self._parts += len(rendering.book.positions)
        while self._parts > PARTS_MAX:
            self._let_go(next(iter(self._renderings)))

    def _let_go(self, portfolio_id: PortfolioId) -> None:
        known = self._renderings.pop(portfolio_id, None)
        if known is not None:
            self._parts -= len(known.book.positions)

    async def page(self, after: str, limit: int, status: Status | None, pacer: Pacer) -> list[SummaryDocument]:
        """At most `limit` portfolios whose ids follow `after`, ordered by id; those in quarantine are left out."""
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

    def following(self, after: str, limit: int) -> list[Book]:
        """At most `limit` books whose ids follow `after`, ordered by id, all of this moment."""
        start = bisect_right(self._ids, after)
        return [self._books[portfolio_id] for portfolio_id in self._ids[start : start + max(0, limit)]]

    def ids_following(self, after: str, limit: int) -> list[PortfolioId]:
        """At most `limit` ids that follow `after`, in order, of the portfolios in quarantine too."""
        start = bisect_right(self._ids, after)
        set_apart = [portfolio_id for portfolio_id in self._quarantined if portfolio_id > after]
        return sorted([*self._ids[start : start + limit], *set_apart])[:limit]

    def marked(self, book: Book) -> MarkedBook:
        """`book` with the market marks known of what it holds."""
        marks = self.marks
        return MarkedBook(book, {name: marks[name] for name in book.positions if name in marks})

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
