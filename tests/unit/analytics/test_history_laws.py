"""Laws that hold for the history of every portfolio, whatever its life, and whatever closes are missing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st

from analytics.history import follow, nav_histories, nav_history, resume
from analytics.nav import NavHistory
from portfolio.book import MarkedBook
from portfolio.entries import Booked
from portfolio.ledger import replay
from portfolio.valuation import value
from tests.oracles.daily import flows_of, panel_of, valued_at_the_end
from tests.oracles.lives import Closes, Lived, lives

SATURDAY = 5


def points(history: NavHistory) -> list[tuple[object, ...]]:
    """The points of a history, equal only if each of them is so to the last bit."""
    columns = (history.days, history.values, history.inflows, history.outflows, history.carried)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def until(closes: Closes, last: date) -> Closes:
    """The closes that were known at the end of a day."""
    return {name: {day: close for day, close in days.items() if day <= last} for name, days in closes.items()}


def counting(lived: Lived, days: Sequence[date], place: int) -> list[Booked]:
    """The transactions that count at a point: they took effect since the day of the point before."""
    return [
        entry
        for entry in lived.entries
        if isinstance(entry, Booked)
        and (place == 0 or entry.effective_at.date() > days[place - 1])
        and (place == len(days) - 1 or entry.effective_at.date() <= days[place])
    ]


@given(lives())
def test_each_point_is_worth_exactly_what_the_state_shows_be_it_of_a_days_end_or_of_now(lived: Lived) -> None:
    history = nav_history(lived.entries, panel_of(lived.closes), lived.live)
    for day, found in list(zip(history.days.tolist(), history.values.tolist(), strict=True))[:-1]:
        assert found == float(valued_at_the_end(lived.entries, lived.closes, day).total_value)
    assert history.values[-1] == float(value(lived.live.book, lived.live.marks).total_value)


@given(lives())
def test_there_is_a_point_for_each_day_with_prices_and_one_for_the_present(lived: Lived) -> None:
    days = nav_history(lived.entries, panel_of(lived.closes), lived.live).days.tolist()
    first = min(entry.effective_at.date() for entry in lived.entries)
    own = sorted(own_days(lived))
    assert days[:-1] == [day for day in own if first <= day < days[-1]]
    assert days[-1] >= max(own, default=first)


def own_days(lived: Lived) -> set[date]:
    """Weekdays with prices of anything, and weekends with prices of what the portfolio traded."""
    traded = {entry.instrument_id for entry in lived.entries if isinstance(entry, Booked)}
    return {
        day for name, by_day in lived.closes.items() for day in by_day if day.weekday() < SATURDAY or name in traded
    }


@given(lives())
def test_every_flow_counts_once_and_a_transfer_at_what_it_is_worth(lived: Lived) -> None:
    history = nav_history(lived.entries, panel_of(lived.closes), lived.live)
    days = history.days.tolist()
    for place, day in enumerate(days):
        is_last = place == len(days) - 1
        valuation = (
            value(lived.live.book, lived.live.marks) if is_last else valued_at_the_end(lived.entries, lived.closes, day)
        )
        expected = flows_of(counting(lived, days, place), valuation)
        if expected is not None:
            assert (history.inflows[place], history.outflows[place]) == tuple(map(float, expected))


@given(st.one_of(lives(back_days_max=0), lives()), st.data())
def test_going_on_from_any_day_equals_the_whole_life(lived: Lived, data: st.DataObject) -> None:
    known = lived.entries[: data.draw(st.integers((1 + len(lived.entries)) // 2, len(lived.entries)), label="version")]
    panel = panel_of(lived.closes)
    panel_then = panel_of(until(lived.closes, known[-1].recorded_at.date()))
    settled = follow(known, panel_then, MarkedBook(replay(None, known), {})).settled
    if settled is None:
        return
    later = lived.entries[settled.book.version :]
    is_late = any(entry.effective_at.date() <= settled.points.days[-1] for entry in later if isinstance(entry, Booked))
    resumed = resume(settled, later, panel, lived.live)
    event("resumed" if resumed is not None else "late or on other days")
    if resumed is None:
        # What is held since may have closes on weekends that were no days before.
        since = own_days(lived) - own_days(replace(lived, entries=known))
        assert is_late or any(day <= settled.points.days[-1] for day in since)
    else:
        assert not is_late
        whole = follow(lived.entries, panel, lived.live)
        assert points(resumed.history) == points(whole.history)
        assert (resumed.settled is None) == (whole.settled is None)
        if resumed.settled is not None and whole.settled is not None:
            assert resumed.settled.digest == whole.settled.digest
            assert points(resumed.settled.points) == points(whole.settled.points)


@given(lives())
def test_the_histories_of_many_are_those_of_each(lived: Lived) -> None:
    panel = panel_of(lived.closes)
    alone = points(nav_history(lived.entries, panel, lived.live))
    both = nav_histories([(lived.entries, lived.live)] * 2, panel)
    assert both.drop("portfolio_id").rows() == alone * 2
    assert both["portfolio_id"].to_list() == [lived.live.book.portfolio_id] * len(alone) * 2
    assert np.isfinite(both["value"].to_numpy()).all()
