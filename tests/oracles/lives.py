"""Hypothesis strategies for lives that go on for days, some of it booked late, and for closes with days that are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from portfolio.book import MarkedBook
from portfolio.commands import UpdatePortfolio
from portfolio.entries import Entry
from portfolio.ids import InstrumentId
from tests.oracles.builders import NOW
from tests.oracles.playing import play
from tests.oracles.strategies import INSTRUMENTS, History, Step, histories, market_marks

Closes = Mapping[InstrumentId, Mapping[date, Decimal]]

_STEP_DAYS_MAX = 3
_BACK_DAYS_MAX = 6
_LAST_MOMENT = timedelta(hours=13, minutes=59, seconds=59, microseconds=999_999)
"""From NOW, at ten, to the end of its day."""


@dataclass(frozen=True, slots=True)
class Lived:
    """A portfolio's entries, what it is now, and the closes of its days."""

    entries: Sequence[Entry]
    live: MarkedBook
    closes: Closes


@st.composite
def lives(draw: st.DrawFn, *, back_days_max: int = _BACK_DAYS_MAX) -> Lived:
    """A life of up to a month, and closes from before it until about its end."""
    history = draw(histories(broken=False))
    now, steps = NOW, []
    for step in history.steps:
        now += timedelta(days=draw(st.integers(0, _STEP_DAYS_MAX)), minutes=1)
        steps.append(_moved(draw, step, now, back_days_max))
    played = play(History(history.opening, tuple(steps)))
    closes = draw(daily_closes(NOW - timedelta(days=_BACK_DAYS_MAX + 2), now + timedelta(days=1)))
    return Lived(played.entries, MarkedBook(played.book, draw(market_marks(now))), closes)


def _moved(draw: st.DrawFn, step: Step, now: datetime, back_days_max: int) -> Step:
    """The same step at `now`; what it booked late takes effect days before, or in the last microsecond of a day."""
    command = step.command
    if isinstance(command, UpdatePortfolio) and command.effective_at is not None:
        back = timedelta(days=draw(st.integers(0, back_days_max)), minutes=now.minute)
        at_the_end = draw(st.sampled_from((timedelta(0), timedelta(0), _LAST_MOMENT)))
        command = replace(command, effective_at=now - back + at_the_end)
    return Step(command, now, step.marks)


@st.composite
def daily_closes(draw: st.DrawFn, first: datetime, last: datetime) -> Closes:
    """Closes with up to eight decimals; of some days there are none at all, and of some instruments none on some."""
    days = [(first + timedelta(days=count)).date() for count in range((last - first).days + 1)]
    open_days = [day for day in days if draw(st.integers(0, 3))]
    price = st.one_of(
        st.integers(1, 10**5).map(lambda cents: Decimal(cents).scaleb(-2)),
        st.integers(1, 10**15).map(lambda count: Decimal(count).scaleb(-8)),
    )
    return {
        instrument: {day: draw(price) for day in open_days if draw(st.integers(0, 4))} for instrument in INSTRUMENTS
    }
