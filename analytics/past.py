"""One portfolio's past, laid out over the days with prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.cents import as_cents, cents, whole
from analytics.closes import Closes, ClosesByCalendar, days_of
from analytics.course import Course, flows
from analytics.frames import from_cents
from analytics.nav import NavHistory, joined
from portfolio.book import Book, MarkedBook
from portfolio.entries import Booked, Entry
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId
from portfolio.ledger import Ledger
from portfolio.valuation import Valuation, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The days that are over, from the panel's index `first` to before `end`; `today`, an ordinal, comes after them.

    From the book `start` on, the transactions `settled` count on one of them, `pending` today; both in version order.
    """

    closes: Closes
    first: int
    end: int
    today: int
    course: Course
    start: Book
    settled: Sequence[Booked]
    pending: Sequence[Booked]

    def history(self, live: MarkedBook) -> NavHistory:
        """The points of these days and, last, of the present."""
        return joined([self.points(), self._present(value(live.book, live.marks))])

    def points(self) -> NavHistory:
        """The points of these days alone."""
        totals, carried = self.course.values(self.end)
        inflows, outflows = self.course.flows(self.end)
        return NavHistory(
            days=self.closes.panel.days[self.first : self.end],
            values=from_cents(totals),
            inflows=from_cents(inflows),
            outflows=from_cents(outflows),
            carried=carried,
        )

    def _present(self, valuation: Valuation) -> NavHistory:
        shown = {item.position.instrument_id: whole(item.mark.price) for item in valuation.positions}
        last = self.closes.days_before(self.today + 1) - 1

        def price(name: InstrumentId) -> int | None:
            # What is no longer held shows no mark.
            return shown[name] if name in shown else self.course.price(name, last)

        inflow, outflow = flows(self.pending, price)
        return NavHistory(
            days=days_of([self.today]),
            values=from_cents(as_cents([cents(valuation.total_value)])),
            inflows=from_cents(as_cents([inflow])),
            outflows=from_cents(as_cents([outflow])),
            carried=np.array([any(item.mark.time.toordinal() < self.today for item in valuation.positions)]),
        )


def ever_held(entries: Iterable[Entry]) -> frozenset[InstrumentId]:
    """What a portfolio has traded in its life, and the currencies of its cash entries."""
    return frozenset(entry.instrument_id for entry in entries if isinstance(entry, Booked))


def past_of_life(entries: Sequence[Entry], closes: ClosesByCalendar, live: MarkedBook) -> Past:
    """The past of a portfolio, of all its entries from the opening on, on the days of all that it ever held."""
    ledger = Ledger(None)
    ledger.enter(entries[0])
    since = min(entry.effective_at.toordinal() for entry in entries)
    return past(booked_by(live, entries), closes.of(ever_held(entries)), live, since=since, start=ledger.book())


def past(booked: Sequence[Booked], closes: Closes, live: MarkedBook, *, since: int, start: Book) -> Past:
    """The past from the day `since` (an ordinal) on, as `booked` lead through it from the book `start`."""
    today = _today(booked, closes, value(live.book, live.marks), since)
    end = closes.days_before(today)
    first = min(closes.days_before(since), end)
    days = [closes.days_before(entry.effective_at.toordinal()) for entry in booked]
    settled = [entry for entry, day in zip(booked, days, strict=True) if day < end]
    course = Course(closes, first, start)
    course.take(settled, [day for day in days if day < end])
    return Past(
        closes=closes,
        first=first,
        end=end,
        today=today,
        course=course,
        start=start,
        settled=settled,
        pending=[entry for entry, day in zip(booked, days, strict=True) if day >= end],
    )


def booked_by(live: MarkedBook, entries: Sequence[Entry]) -> Sequence[Booked]:
    """The transactions among `entries` that the live book has. Raises Corrupt if its last entries are missing."""
    book = live.book
    if entries and entries[-1].version < book.version:
        raise Corrupt(
            f"the entries of portfolio {book.portfolio_id} end at version {entries[-1].version}, "
            f"the book is at version {book.version}",
            portfolio_id=book.portfolio_id,
        )
    return [entry for entry in entries if isinstance(entry, Booked) and entry.version <= book.version]


def _today(booked: Sequence[Booked], closes: Closes, valuation: Valuation, since: int) -> int:
    """The day of the newest thing known: a transaction, a mark that shows, a close of any instrument."""
    # By effective time: a history that was loaded this morning ends with its last transaction, not this morning.
    effective = (entry.effective_at.toordinal() for entry in booked)
    marks = (item.mark.time.toordinal() for item in valuation.positions)
    return max(since, closes.last, *effective, *marks)
