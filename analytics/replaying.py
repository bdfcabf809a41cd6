"""A journal replayed by the days on which its transactions count, which need not be in the order of their versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portfolio.entries import Booked
from portfolio.ledger import Ledger


@dataclass(frozen=True, slots=True)
class DayEnd:
    """A day on which transactions count: which, and the ledger of all that count by then."""

    day: int
    ledger: Ledger
    booked: Sequence[Booked]


def day_ends(ledger: Ledger, booked: Sequence[Booked], days: Sequence[int]) -> Iterator[DayEnd]:
    """Book `booked`, in version order, into `ledger`; `days` says on which day each of them counts.

    A day's ledger is what its transactions and those of earlier days add up to in version order, later ones left out, as
    states of the past are. It is to be read before the next one is asked for.

    Where days never go back this is one pass. One that was booked late counts before some with earlier versions: it waits
    until the last of these has been booked, and meanwhile is booked anew, each day, on top of a copy.
    """
    on_days: dict[int, list[Booked]] = {}
    in_order: list[int] = []
    late: list[int] = []
    for place, (day, entry) in enumerate(zip(days, booked, strict=True)):
        on_days.setdefault(day, []).append(entry)
        (late if in_order and day < days[in_order[-1]] else in_order).append(place)
    done, ordered = 0, iter([*in_order, len(booked)])
    ahead = next(ordered)
    for day in sorted(on_days):
        # What lies before a transaction in order counts no later than that does: the whole stretch can be booked.
        while ahead < len(booked) and days[ahead] <= day:
            for entry in booked[done : ahead + 1]:
                ledger.enter(entry)
            done, ahead = ahead + 1, next(ordered)
        waiting = [booked[place] for place in late if place >= done and days[place] <= day]
        yield DayEnd(day, _with(ledger, waiting) if waiting else ledger, on_days[day])


def _with(ledger: Ledger, entries: Sequence[Booked]) -> Ledger:
    further = Ledger(ledger.book())
    for entry in entries:
        further.enter(entry)
    return further
