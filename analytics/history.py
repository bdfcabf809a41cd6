"""The histories of portfolios, from all of their entries or going on from an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from analytics.closes import ClosesByCalendar, ordinals_of
from analytics.nav import NavHistory, joined
from analytics.panel import PricePanel
from analytics.past import Past, booked_by, ever_held, past, past_of_life
from portfolio.book import Book, MarkedBook
from portfolio.entries import Entry
from portfolio.ids import InstrumentId
from portfolio.ledger import replay


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settled:
    """The days of a history that are over: their points, and the book at their end, which later days go on from.

    `digest` stands for the closes of `instruments`, all that were ever held, which the points are made of.
    """

    book: Book
    points: NavHistory
    instruments: tuple[InstrumentId, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Followed:
    """A history, and what to go on from when there is more; None where only the whole life will do."""

    history: NavHistory
    settled: Settled | None


def nav_history(entries: Sequence[Entry], panel: PricePanel, live: MarkedBook) -> NavHistory:
    """The history of the portfolio that `entries`, from the opening on in version order, lead to.

    Its days are Mondays to Fridays with prices, and weekends with prices of what it ever held. The value of a day is that of
    what had taken effect by its end, in UTC, each position at its newest close or, where that came later, its newest trade:
    the total value of the state `as_of` that moment. What took effect on a day without prices counts on the next day with
    prices. The last point is what the state shows now, on the day of the newest
    thing known. Entries after the live book's version are left out; raises Corrupt if they end before it.
    """
    return past_of_life(entries, ClosesByCalendar(panel), live).history(live)


def nav_histories(lives: Iterable[tuple[Sequence[Entry], MarkedBook]], panel: PricePanel) -> pl.DataFrame:
    """The histories of many portfolios below one another: `portfolio_id, day, value, inflow, outflow, carried`."""
    closes = ClosesByCalendar(panel)
    names: list[str] = []
    histories: list[NavHistory] = []
    for entries, live in lives:
        names.append(live.book.portfolio_id)
        histories.append(past_of_life(entries, closes, live).history(live))
    lengths = [len(history.days) for history in histories]
    points = joined(histories)
    return pl.DataFrame(
        {
            "portfolio_id": pl.Series(names, dtype=pl.String).gather(np.repeat(np.arange(len(names)), lengths)),
            "day": points.days,
            "value": points.values,
            "inflow": points.inflows,
            "outflow": points.outflows,
            "carried": points.carried,
        }
    )


def follow(entries: Sequence[Entry], panel: PricePanel, live: MarkedBook) -> Followed:
    """`nav_history`, and what `resume` needs to go on from it."""
    found = past_of_life(entries, ClosesByCalendar(panel), live)
    return Followed(found.history(live), _settled(found, found.points(), ()))


def resume(settled: Settled, entries: Sequence[Entry], panel: PricePanel, live: MarkedBook) -> Followed | None:
    """What `follow` makes of the whole life, to the last bit, made of `settled` and the entries after its book.

    None if one of these counts on a settled day, if prices that those are made of have changed, or if what is held since
    has other days.
    """
    closes = ClosesByCalendar(panel).of({*settled.instruments, *ever_held(entries)})
    begin, last = map(int, ordinals_of(settled.points.days[[0, -1]]))
    since = last + 1
    if not np.array_equal(
        closes.panel.days[closes.days_before(begin) : closes.days_before(since)], settled.points.days
    ):
        return None
    booked = booked_by(live, entries)
    if any(entry.effective_at.toordinal() < since for entry in booked):
        return None
    if closes.digest(settled.instruments, closes.days_before(since)) != settled.digest:
        return None
    found = past(booked, closes, live, since=since, start=settled.book)
    points = joined([settled.points, found.points()])
    return Followed(joined([settled.points, found.history(live)]), _settled(found, points, settled.instruments))


def _settled(found: Past, points: NavHistory, known: Iterable[InstrumentId]) -> Settled | None:
    """What to go on from, if any day is over and none of today's transactions was booked before a settled one."""
    settled, pending = found.settled, found.pending
    if not len(points.days) or (settled and pending and pending[0].version < settled[-1].version):
        return None
    instruments = tuple(sorted({*known, *found.course.instruments}))
    return Settled(
        book=replay(found.start, settled),
        points=points,
        instruments=instruments,
        digest=found.closes.digest(instruments, found.end),
    )
