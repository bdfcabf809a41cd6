"""Deciding commands: openings, updates as one unit, conflicts, limits and minimum cash."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from portfolio.book import Book, Mark
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.decide import TRANSACTIONS_MAX, decide
from portfolio.entries import Booked, Entry, Opened, derived_id
from portfolio.errors import (
    Corrupt,
    InsufficientPosition,
    InvalidRequest,
    MinCashBreached,
    PortfolioExists,
    PortfolioNotFound,
    VersionMismatch,
)
from portfolio.ids import Currency, InstrumentId, PortfolioId
from portfolio.ledger import replay
from portfolio.status import Status
from portfolio.transactions import Transaction, TransactionType
from tests.oracles.builders import (
    NOW,
    PORTFOLIO,
    USD,
    X,
    book_of,
    booked,
    buy,
    change,
    decided,
    deposit,
    minutes,
    opening,
    sell,
    split,
    transaction,
    update,
)


def test_an_opening_is_version_one_and_its_cash_a_deposit_after_it() -> None:
    decision = decide(None, opening(cash="100.5"), now=NOW)
    first, second = decision.entries
    assert isinstance(first, Opened)
    assert isinstance(second, Booked)
    assert (first.version, second.version, decision.book.version) == (1, 2, 2)
    assert second.transaction_type is TransactionType.DEPOSIT
    assert (second.instrument_id, str(second.value)) == (InstrumentId(USD), "100.50")
    assert second.transaction_id == derived_id(PORTFOLIO, 2)
    assert (decision.book.cash, decision.book.net_deposits) == (Decimal("100.50"), Decimal("100.50"))
    assert (decision.book.created_at, decision.book.last_updated) == (NOW, NOW)


@pytest.mark.parametrize("cash", ["0", "-0", "0.00"])
def test_an_opening_without_cash_is_one_entry(cash: str) -> None:
    decision = decide(None, opening(cash=cash, min_cash="-250"), now=NOW)
    assert len(decision.entries) == decision.book.version == 1
    assert str(decision.book.cash) == "0.00"
    assert (decision.book.min_cash, decision.book.status) == (Decimal(-250), Status.ACTIVE)


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (opening(cash="-0.01"), "cash_balance"),
        (opening(cash="0.001"), "cash_balance"),
        (opening(cash="1e12"), "cash_balance"),
        (opening(cash="NaN"), "cash_balance"),
        (opening(min_cash="0.001"), "min_cash"),
        (opening(min_cash="-1e12"), "min_cash"),
        (opening(min_cash="sNaN"), "min_cash"),
        (replace(opening(), portfolio_id=PortfolioId("a b")), "portfolio_id"),
        (replace(opening(), portfolio_name=""), "portfolio_name"),
        (replace(opening(), base_currency=Currency("usd")), "base_currency"),
    ],
)
def test_a_malformed_opening_is_refused_by_the_name_of_its_field(command: OpenPortfolio, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decide(None, command, now=NOW)
    assert caught.value.cause["field"] == field


def test_an_open_portfolio_cannot_be_opened_again() -> None:
    with pytest.raises(PortfolioExists) as caught:
        decide(book_of(), opening(), now=NOW)
    assert caught.value.cause == {"portfolio_id": PORTFOLIO}


@pytest.mark.parametrize("command", [update(deposit("1")), change(Status.SUSPENDED)])
def test_a_portfolio_that_was_never_opened_is_not_found(command: UpdatePortfolio | ChangeStatus) -> None:
    with pytest.raises(PortfolioNotFound) as caught:
        decide(None, command, now=NOW)
    assert caught.value.cause == {"portfolio_id": PORTFOLIO}


@pytest.mark.parametrize("command", [update(deposit("1")), change(Status.SUSPENDED)])
def test_a_command_for_another_version_is_refused_before_all_else(command: UpdatePortfolio | ChangeStatus) -> None:
    expected = replace(command, expected_version=2)
    with pytest.raises(VersionMismatch) as caught:
        decide(book_of(), expected, now=NOW)
    assert caught.value.cause == {"version": 1, "expected_version": 2}
    assert decide(book_of(deposit("1")), expected, now=NOW).book.version == 3


def test_each_transaction_is_an_entry_with_a_version_an_id_and_both_times() -> None:
    own = UUID(int=7)
    items = (deposit("5"), transaction("BUY", "X", "1", "5", transaction_id=own))
    decision = decided(book_of(), *items, now=minutes(9), effective_at=minutes(-9))
    assert [entry.version for entry in decision.entries] == [2, 3]
    assert [getattr(entry, "transaction_id", None) for entry in decision.entries] == [derived_id(PORTFOLIO, 2), own]
    assert {(entry.effective_at, entry.recorded_at) for entry in decision.entries} == {(minutes(-9), minutes(9))}
    assert decision.book.last_updated == minutes(9)


def test_a_transaction_takes_effect_when_it_is_recorded_unless_it_says_otherwise() -> None:
    (entry,) = decided(book_of(), deposit("5"), now=minutes(9)).entries
    assert (entry.effective_at, entry.recorded_at) == (minutes(9), minutes(9))


def test_each_transaction_of_an_update_sees_those_before_it() -> None:
    with pytest.raises(InsufficientPosition) as caught:
        booked(book_of(allow_short=False), buy("10", "1"), sell("6", "1"), sell("6", "1"))
    assert (caught.value.cause["index"], caught.value.cause["held"]) == (2, 4)


@pytest.mark.parametrize("count", [0, TRANSACTIONS_MAX + 1])
def test_an_update_has_one_to_a_thousand_transactions(count: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        booked(book_of(), *[deposit("1")] * count)
    assert caught.value.cause == {"field": "updates"}
    assert booked(book_of(), *[deposit("1")] * TRANSACTIONS_MAX).cash == TRANSACTIONS_MAX


@pytest.mark.parametrize(
    ("min_cash", "items", "cash"),
    [
        ("0", (buy("1", "100"),), "0"),
        ("0", (buy("1", "150"), deposit("50")), "0"),  # Below on the way, not at the end.
        ("-50", (buy("1", "149.99"),), "-49.99"),
        ("500", (deposit("1"),), "101"),  # Still below, but cash rises.
        ("500", (buy("1", "10"), sell("1", "10")), "100"),  # Still below, but cash does not fall.
        ("500", (transaction("TRANSFER_IN", "X", "1", "5"), split("2:1")), "100"),
        (None, (buy("1", "1000"),), "-900"),
    ],
)
def test_minimum_cash_is_asked_of_the_whole_update_and_only_when_cash_falls(
    min_cash: str | None, items: tuple[Transaction, ...], cash: str
) -> None:
    assert booked(book_of(cash="100", min_cash=min_cash), *items).cash == Decimal(cash)


@pytest.mark.parametrize(
    ("min_cash", "items"),
    [
        ("0", (buy("1", "100", fee="0.01"),)),
        ("0", (transaction("WITHDRAWAL", USD, "-100.01", "1"),)),
        ("0", (deposit("50"), buy("1", "150.01"))),
        ("500", (transaction("FEE", USD, "-0.01", "1"),)),
        ("0", (transaction("TRANSFER_IN", "X", "-100", "1"), transaction("DIVIDEND", "X", "0", "2"))),
        ("0", (transaction("TRANSFER_IN", "X", "-1", "1"), split("1:3", "1000"))),
    ],
)
def test_an_update_that_takes_cash_below_the_minimum_books_nothing(
    min_cash: str, items: tuple[Transaction, ...]
) -> None:
    book = book_of(cash="100", min_cash=min_cash)
    with pytest.raises(MinCashBreached, match="the portfolio's minimum is") as caught:
        booked(book, *items)
    assert caught.value.cause == {"limit": Decimal(min_cash), "cash_balance": 100}


LARGE = "999999999.99"
CHEAP = transaction("TRANSFER_IN", "Y", "900000000", "1")
PAID = transaction("DIVIDEND", "Y", "0", LARGE)
LOSS = (buy("900000000", LARGE), sell("900000000", "0.01"))
GAIN = (transaction("TRANSFER_IN", "Z", "900000000", "0"), transaction("SELL", "Z", "-900000000", LARGE))


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ((buy("999999999999", "0.00000001"), buy("1", "1")), "quantity_change"),
        ((buy("999999", "1"), split("1000000:1"), split("2:1")), "quantity_change"),
        ((buy("100000000000", "100000000000"),), "price"),
        ((CHEAP, LOSS[0], PAID, LOSS[0]), "price"),  # Cost.
        ((CHEAP, PAID, sell("900000000", LARGE)), "price"),  # Cash.
        ((CHEAP, PAID, buy("900000000", LARGE), PAID), "price"),  # Income, with no cash.
        (tuple(transaction("TRANSFER_IN", name, "900000000", LARGE) for name in ("A", "B")), "price"),
        ((CHEAP, *LOSS, PAID, *LOSS), "price"),  # Realised P&L.
        ((buy("1", "1"), *LOSS, *GAIN, *LOSS), "price"),  # Realised P&L of the position alone.
    ],
)
def test_figures_beyond_what_can_be_kept_are_refused(items: tuple[Transaction, ...], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        booked(book_of(), *items)
    assert caught.value.cause["field"] == field
    assert caught.value.cause["index"] == len(items) - 1


def test_market_marks_matter_to_splits_alone() -> None:
    marks = {X: Mark(Decimal(99), minutes(1)), InstrumentId("Y"): Mark(Decimal(1), minutes(1))}
    items = (deposit("1"), buy("2", "3"), transaction("DIVIDEND", "X", "0", "1"), sell("1", "4"))
    assert decided(book_of(), *items, now=minutes(2), marks=marks) == decided(book_of(), *items, now=minutes(2))
    held = book_of(buy("1", "1"))
    assert booked(held, split("2:1"), now=minutes(2), marks=marks) != booked(held, split("2:1"), now=minutes(2))


OPENED = decide(None, opening(), now=NOW).entries
HELD = book_of(buy("1", "1"))


def split_without_terms() -> Booked:
    (entry,) = decided(HELD, split("2:1")).entries
    assert isinstance(entry, Booked)
    return replace(entry, mark=None)


@pytest.mark.parametrize(
    ("book", "entries"),
    [
        (None, ()),
        (None, decided(HELD, deposit("1")).entries),
        (None, OPENED * 2),
        (HELD, OPENED),
        (HELD, (split_without_terms(),)),
    ],
)
def test_entries_that_cannot_follow_one_another_are_corrupt(book: Book | None, entries: tuple[Entry, ...]) -> None:
    with pytest.raises(Corrupt):
        replay(book, entries)
