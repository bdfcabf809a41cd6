"""The history of a portfolio, in worked examples."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from analytics.history import follow, nav_history, resume
from analytics.nav import NavHistory
from portfolio import money
from portfolio.book import Book, Mark, MarkedBook
from portfolio.commands import Command
from portfolio.decide import decide
from portfolio.entries import Entry
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId
from portfolio.status import Status
from portfolio.transactions import Transaction
from tests.oracles.builders import X, buy, change, deposit, opening, sell, split, transaction, update
from tests.oracles.daily import panel_of

Y = InstrumentId("Y")
MON, TUE, WED, THU, FRI, SAT, SUN = (date(2024, 6, day) for day in range(3, 10))
NEXT_MON, NEXT_TUE = date(2024, 6, 10), date(2024, 6, 11)


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12, tzinfo=UTC))


class Portfolio:
    """A portfolio opened on a Monday at nine; what is asked of it afterwards comes at noon of its day."""

    def __init__(self, *, cash: str = "0", opened: date = MON) -> None:
        self.book: Book | None = None
        self.entries: list[Entry] = []
        self._take(opening(cash=cash), noon(opened) - timedelta(hours=3))

    def on(self, day: date, *transactions: Transaction, recorded: date | None = None) -> None:
        """Book transactions that take effect on a day, recorded then or later."""
        self._take(update(*transactions, effective_at=noon(day)), noon(recorded or day))

    def becomes(self, status: Status, day: date) -> None:
        self._take(change(status), noon(day))

    def live(self, **prices: str) -> MarkedBook:
        """The book of now, its marks those of Tuesday of the next week."""
        assert self.book is not None
        marks = {InstrumentId(name): Mark(Decimal(price), noon(NEXT_TUE)) for name, price in prices.items()}
        return MarkedBook(self.book, marks)

    def history(
        self, closes: Mapping[InstrumentId, Mapping[date, str]], live: MarkedBook | None = None
    ) -> dict[date, tuple[float, float, float]]:
        """Value, inflow and outflow by day."""
        history = self.whole_history(closes, live)
        rows = zip(history.values.tolist(), history.inflows.tolist(), history.outflows.tolist(), strict=True)
        return dict(zip(history.days.tolist(), rows, strict=True))

    def whole_history(
        self, closes: Mapping[InstrumentId, Mapping[date, str]], live: MarkedBook | None = None
    ) -> NavHistory:
        return nav_history(self.entries, panel_of(exact(closes)), live or self.live())

    def _take(self, command: Command, now: datetime) -> None:
        decision = decide(self.book, command, now=now)
        self.book = decision.book
        self.entries.extend(decision.entries)


def exact(closes: Mapping[InstrumentId, Mapping[date, str]]) -> dict[InstrumentId, dict[date, Decimal]]:
    return {name: {day: Decimal(close) for day, close in days.items()} for name, days in closes.items()}


def closing(days: Sequence[date], *prices: str) -> dict[date, str]:
    return dict(zip(days, prices, strict=True))


def test_each_day_is_worth_its_cash_and_its_holdings_at_that_days_close() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, buy("10", "20", fee="1"))
    history = portfolio.history({X: closing([MON, TUE, WED, THU], "19", "21", "22.505", "23")}, portfolio.live(X="30"))
    assert history == {
        MON: (1000.0, 1000.0, 0.0),
        TUE: (1009.0, 0.0, 0.0),
        WED: (1024.05, 0.0, 0.0),
        THU: (1029.0, 0.0, 0.0),
        NEXT_TUE: (1099.0, 0.0, 0.0),
    }


def test_each_position_is_rounded_to_the_cent_by_itself_and_away_from_zero() -> None:
    portfolio = Portfolio(cash="10")
    portfolio.on(MON, buy("1", "1"), transaction("BUY", Y, "1", "1"), transaction("SHORT", "Z", "-3", "1"))
    closes = {name: closing([MON, TUE], close, close) for name, close in ((X, "0.005"), (Y, "1.004"), ("Z", "0.335"))}
    # 11.00 in cash, then 0.01 and 1.00 long, and 1.01 short; unrounded it would be 11.004.
    assert portfolio.history(closes)[MON][0] == 11.0  # type: ignore[arg-type]


def test_a_split_changes_no_value_on_the_day_it_takes_effect() -> None:
    portfolio = Portfolio(cash="5000")
    portfolio.on(MON, buy("10", "500"))
    portfolio.on(WED, split("4:1"))
    history = portfolio.history({X: closing([MON, TUE, WED, THU], "500", "500", "125", "125")})
    assert [value for value, _, _ in history.values()] == [5000.0] * 4


def test_after_a_split_without_a_close_the_mark_of_the_split_counts_before_the_last_close() -> None:
    portfolio = Portfolio(cash="5000")
    portfolio.on(MON, buy("10", "500"))
    portfolio.on(WED, split("4:1"))
    closes = {X: closing([MON, TUE, THU], "500", "500", "125"), Y: closing([WED], "1")}
    history = portfolio.whole_history(closes)
    assert history.values.tolist() == [5000.0] * 4
    # The state of now, on Thursday, has Wednesday's mark still.
    assert history.carried.tolist() == [False, False, True, True]


def test_what_is_booked_on_a_weekend_counts_on_the_next_day_with_prices() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(SAT, deposit("500"))
    portfolio.on(SUN, buy("10", "100"))
    history = portfolio.history({X: closing([FRI, NEXT_MON, NEXT_TUE], "90", "110", "120")}, portfolio.live(X="130"))
    assert history == {FRI: (1000.0, 1000.0, 0.0), NEXT_MON: (1600.0, 500.0, 0.0), NEXT_TUE: (1800.0, 0.0, 0.0)}


def test_without_a_close_the_newer_of_the_last_close_and_the_last_trade_counts_and_the_day_says_so() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20.5"))
    portfolio.on(THU, buy("10", "30"))
    closes = {X: closing([TUE, FRI], "25", "35"), Y: closing([MON, TUE, WED, THU, FRI, NEXT_MON], *"111111")}
    history = portfolio.whole_history(closes, portfolio.live(X="36"))
    assert history.values.tolist() == [1000.0, 1045.0, 1045.0, 1095.0, 1195.0, 1195.0, 1215.0]
    assert history.carried.tolist() == [True, False, True, True, False, True, False]


def test_the_present_says_so_where_a_mark_is_older_than_its_day() -> None:
    portfolio = Portfolio(cash="5000")
    portfolio.on(MON, buy("10", "500"))
    history = portfolio.whole_history({X: closing([MON, TUE, WED], "500", "550", "600")})
    assert history.values.tolist() == [5000.0, 5500.0, 5000.0]
    assert history.carried.tolist() == [False, False, True]


def test_what_is_no_longer_held_needs_no_close() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    portfolio.on(TUE, sell("10", "20"))
    history = portfolio.whole_history({Y: closing([MON, TUE, WED, THU], *"1111")})
    assert history.carried.tolist() == [True, False, False, False]


def test_a_trade_in_the_last_microsecond_of_a_day_counts_before_its_close() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    late = datetime.combine(TUE, time.max, tzinfo=UTC)
    portfolio._take(update(buy("10", "30"), effective_at=late), late)
    history = portfolio.history({X: closing([MON, TUE, WED], "20", "25", "26")}, portfolio.live(X="27"))
    assert [value for value, _, _ in history.values()] == [1000.0, 1100.0, 1020.0, 1040.0]


def test_deposits_and_withdrawals_of_a_day_are_told_apart() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, deposit("300"), transaction("WITHDRAWAL", "USD", "-100", "1"))
    portfolio.on(TUE, transaction("FEE", "USD", "-5", "1"), transaction("INTEREST", "USD", "7", "1"))
    history = portfolio.history({X: closing([MON, TUE, WED], "1", "1", "1")})
    assert history[TUE] == (1202.0, 300.0, 100.0)


def test_a_transfer_counts_at_its_close_and_makes_no_return() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, transaction("TRANSFER_IN", X, "10", "20"))
    portfolio.on(THU, transaction("TRANSFER_OUT", X, "-4"))
    history = portfolio.history({X: closing([MON, TUE, WED, THU, FRI], "48", "50", "50", "60", "60")})
    assert history[TUE] == (1500.0, 500.0, 0.0)
    # Ten rose by 100.00 until Thursday's close, at which four left.
    assert history[THU] == (1360.0, 0.0, 240.0)


def test_a_short_position_that_comes_in_is_an_outflow() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, transaction("TRANSFER_IN", X, "-10", "20"))
    portfolio.on(WED, transaction("TRANSFER_OUT", X, "10"))
    history = portfolio.history({X: closing([MON, TUE, WED, THU], "50", "50", "50", "50")})
    assert history[TUE] == (500.0, 0.0, 500.0)
    assert history[WED] == (1000.0, 500.0, 0.0)


def test_a_transfer_without_a_close_counts_at_what_its_position_is_valued_at() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, transaction("TRANSFER_IN", X, "10", "20"))
    portfolio.on(WED, buy("1", "30"))
    portfolio.on(THU, transaction("TRANSFER_OUT", X, "-11"))
    history = portfolio.history({Y: closing([MON, TUE, WED, THU, FRI], *"11111")})
    assert history[TUE] == (1200.0, 200.0, 0.0)
    assert history[WED] == (1300.0, 0.0, 0.0)
    assert history[THU] == (970.0, 0.0, 330.0)


def test_a_transfer_and_a_split_of_one_day_count_in_the_new_units() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, transaction("TRANSFER_IN", X, "10", "500"), split("4:1"))
    history = portfolio.history({X: closing([MON, TUE, WED], "500", "125", "125")})
    assert history[TUE] == (6000.0, 5000.0, 0.0)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_a_transfer_of_today_counts_at_the_price_that_the_present_shows(all_of_it: bool) -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "50"))
    portfolio.on(TUE, transaction("TRANSFER_OUT", X, "-10" if all_of_it else "-4"))
    live = MarkedBook(portfolio.live().book, {X: Mark(Decimal(60), noon(TUE) + timedelta(hours=1))})
    history = portfolio.history({X: closing([MON, TUE], "50", "55")}, live)
    # What has left completely has no mark any more: the day's close has to do.
    assert history[TUE] == ((500.0, 0.0, 550.0) if all_of_it else (860.0, 0.0, 240.0))


def test_a_portfolio_that_never_did_anything_is_worth_nothing_from_its_first_day_on() -> None:
    assert Portfolio(opened=TUE).history({X: closing([MON, TUE, WED], "1", "1", "1")}) == {
        TUE: (0.0, 0.0, 0.0),
        WED: (0.0, 0.0, 0.0),
    }


def test_a_portfolio_opened_after_the_last_close_has_the_present_alone() -> None:
    assert Portfolio(cash="7", opened=FRI).history({X: closing([MON, TUE], "1", "1")}) == {FRI: (7.0, 7.0, 0.0)}


def test_without_any_closes_there_is_the_present_alone() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, buy("10", "20"), transaction("TRANSFER_IN", Y, "1", "5"), transaction("TRANSFER_OUT", Y, "-1"))
    assert portfolio.history({}, portfolio.live(X="21")) == {NEXT_TUE: (1010.0, 1005.0, 5.0)}


def test_a_closed_portfolio_is_worth_nothing_afterwards() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    portfolio.on(WED, sell("10", "30"), transaction("WITHDRAWAL", "USD", "-1100", "1"))
    portfolio.becomes(Status.LIQUIDATING, WED)
    portfolio.becomes(Status.CLOSED, WED)
    history = portfolio.history({X: closing([MON, TUE, WED, THU, FRI], "20", "25", "29", "28", "27")})
    assert history == {
        MON: (1000.0, 1000.0, 0.0),
        TUE: (1050.0, 0.0, 0.0),
        WED: (0.0, 0.0, 1100.0),
        THU: (0.0, 0.0, 0.0),
        FRI: (0.0, 0.0, 0.0),
    }


def test_what_is_booked_late_counts_from_the_day_it_took_effect() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(WED, buy("10", "20"))
    portfolio.on(THU, buy("10", "30"))
    portfolio.on(TUE, sell("5", "15"), recorded=FRI)
    portfolio.on(FRI, buy("1", "40"))
    history = portfolio.history({X: closing([MON, TUE, WED, THU, FRI, NEXT_MON], "10", "16", "20", "30", "40", "40")})
    # On Tuesday alone it is a short sale: 1,075.00 in cash, 5 units at 16.00 owed.
    assert [value for value, _, _ in history.values()] == [1000.0, 995.0, 975.0, 1025.0, 1175.0, 1175.0]


def test_a_split_booked_late_scales_what_was_held_before_it_only() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "40"))
    portfolio.on(THU, buy("10", "20"))
    portfolio.on(TUE, split("2:1"), recorded=FRI)
    history = portfolio.history({X: closing([MON, TUE, WED, THU, FRI], "40", "20", "20", "20", "20")})
    # In version order the split comes last: from Thursday on it scales the purchase of Thursday too, as the book has it.
    assert [value for value, _, _ in history.values()] == [1000.0, 1000.0, 1000.0, 1200.0, 1200.0]


def test_a_life_loaded_backwards_has_the_days_in_their_order() -> None:
    portfolio = Portfolio(cash="1000", opened=FRI)
    for day in (THU, WED, TUE, MON):
        portfolio.on(day, deposit("100"), recorded=FRI)
    history = portfolio.history({X: closing([MON, TUE, WED, THU, FRI], *"11111")})
    assert [value for value, _, _ in history.values()] == [100.0, 200.0, 300.0, 400.0, 1400.0]
    assert [inflow for _, inflow, _ in history.values()] == [100.0, 100.0, 100.0, 100.0, 1000.0]


def test_the_present_is_dated_by_the_newest_thing_known_not_by_when_it_was_recorded() -> None:
    portfolio = Portfolio(cash="1000", opened=NEXT_MON)
    portfolio.on(TUE, buy("10", "20"), recorded=NEXT_MON)
    portfolio.becomes(Status.SUSPENDED, NEXT_TUE)
    assert list(portfolio.history({X: closing([MON, TUE, WED], "20", "20", "20")})) == [TUE, WED, NEXT_MON]
    loaded = Portfolio(opened=NEXT_MON)
    loaded.on(MON, deposit("1"), recorded=NEXT_MON)
    assert list(loaded.history({X: closing([MON, TUE, WED], "20", "20", "20")})) == [MON, TUE, WED]


def test_amounts_beyond_the_integers_of_the_processor_are_exact() -> None:
    portfolio = Portfolio()
    portfolio.on(MON, buy("999999999999.99999999", "999.00000001"), sell("0.00000001", "1"))
    history = portfolio.history({X: closing([MON, TUE], "12345678.12345678", "1")})
    worth = money.round2(money.multiply(Decimal("999999999999.99999998"), Decimal("12345678.12345678")))
    assert history[MON][0] == float(money.add(portfolio.live().book.cash, worth))


def test_one_position_beyond_the_integers_of_the_processor_does_not_spoil_the_others() -> None:
    portfolio = Portfolio(cash="0.05")
    portfolio.on(MON, transaction("TRANSFER_IN", X, "999999999999", "0.01"))
    history = portfolio.history({X: closing([MON, TUE], "9999999", "1")})
    worth = float(Decimal("9999998999990000001.05"))
    assert history[MON] == (worth, worth, 0.0)


def test_entries_that_the_live_book_does_not_have_yet_are_left_out() -> None:
    portfolio = Portfolio(cash="1000")
    live = portfolio.live()
    portfolio.on(TUE, deposit("500"))
    assert portfolio.history({X: closing([MON, TUE, WED], "1", "1", "1")}, live) == {
        MON: (1000.0, 1000.0, 0.0),
        TUE: (1000.0, 0.0, 0.0),
        WED: (1000.0, 0.0, 0.0),
    }


def test_entries_that_end_before_the_live_book_are_refused() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(TUE, deposit("500"))
    with pytest.raises(Corrupt, match="end at version 2, the book is at version 3"):
        nav_history(portfolio.entries[:2], panel_of({}), portfolio.live())


def test_a_later_day_goes_on_from_the_days_that_are_over() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    before = panel_of(exact({X: closing([MON, TUE, WED], "20", "21", "22")}))
    settled = follow(portfolio.entries, before, portfolio.live()).settled
    assert settled is not None
    portfolio.on(THU, sell("10", "25"))
    after = panel_of(exact({X: closing([MON, TUE, WED, THU, FRI], "20", "21", "22", "24", "30")}))
    resumed = resume(settled, portfolio.entries[settled.book.version :], after, portfolio.live())
    assert resumed is not None
    assert resumed.history.values.tolist() == [1000.0, 1010.0, 1020.0, 1050.0, 1050.0]
    assert resumed.settled is not None
    assert resumed.settled.instruments == (X,)
    assert resumed.settled.points.days.tolist() == [MON, TUE, WED, THU]


def test_what_is_booked_late_asks_for_the_whole_life() -> None:
    portfolio = Portfolio(cash="1000")
    panel = panel_of(exact({X: closing([MON, TUE, WED], "20", "21", "22")}))
    settled = follow(portfolio.entries, panel, portfolio.live()).settled
    assert settled is not None
    portfolio.on(TUE, deposit("1"), recorded=THU)
    assert resume(settled, portfolio.entries[2:], panel, portfolio.live()) is None


def test_what_was_booked_ahead_of_its_day_leaves_nothing_to_go_on_from_until_that_day() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(THU, deposit("1"), recorded=WED)
    portfolio.on(WED, deposit("2"))
    days = [MON, TUE, WED, THU, FRI]
    before, after = (panel_of(exact({X: closing(days[:count], *"11111"[:count])})) for count in (3, 5))
    assert follow(portfolio.entries, before, portfolio.live()).settled is None
    assert follow(portfolio.entries, after, portfolio.live()).settled is not None


def test_closes_of_what_was_held_once_count_for_what_is_gone_on_from() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    portfolio.on(TUE, sell("10", "21"))
    closes = {X: closing([MON, TUE, WED], "20", "21", "22"), Y: closing([MON, TUE, WED, THU, FRI], *"11111")}
    first = follow(
        portfolio.entries, panel_of(exact({**closes, Y: closing([MON, TUE, WED], *"111")})), portfolio.live()
    )
    assert first.settled is not None
    second = resume(first.settled, [], panel_of(exact(closes)), portfolio.live())
    assert second is not None
    assert second.settled is not None
    corrected = panel_of(exact({**closes, X: closing([MON, TUE, WED], "20.5", "21", "22")}))
    assert resume(second.settled, [], corrected, portfolio.live()) is None


def test_corrected_closes_of_days_that_are_over_ask_for_the_whole_life() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    closes = {X: closing([MON, TUE, WED], "20", "21", "22"), Y: closing([MON, TUE, WED], "1", "1", "1")}
    settled = follow(portfolio.entries, panel_of(exact(closes)), portfolio.live()).settled
    assert settled is not None
    others = panel_of(exact({**closes, Y: closing([MON, TUE, WED], "2", "2", "2")}))
    assert resume(settled, [], others, portfolio.live()) is not None
    corrected = panel_of(exact({**closes, X: closing([MON, TUE, WED], "20", "21.5", "22")}))
    assert resume(settled, [], corrected, portfolio.live()) is None


def test_a_first_close_after_the_days_that_are_over_changes_nothing_about_them() -> None:
    portfolio = Portfolio(cash="1000")
    portfolio.on(MON, buy("10", "20"))
    closes = {Y: closing([MON, TUE, WED], *"111")}
    settled = follow(portfolio.entries, panel_of(exact(closes)), portfolio.live()).settled
    assert settled is not None
    listed = panel_of(exact({**closes, X: closing([FRI], "23")}))
    resumed = resume(settled, [], listed, portfolio.live())
    assert resumed is not None
    assert resumed.history.values.tolist()[:3] == [1000.0, 1000.0, 1000.0]
