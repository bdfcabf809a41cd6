"""Positions at average cost: trades, rounding, through zero, splits and transfers, with figures worked by hand."""

from decimal import Decimal

import pytest

from portfolio.book import Book, Mark
from portfolio.entries import Booked
from portfolio.errors import InvalidRequest
from portfolio.invariants import check_book
from portfolio.transactions import Transaction
from tests.oracles.builders import NOW, USD, X, book_of, booked, buy, decided, minutes, sell, split, transaction

SHORT_100 = transaction("SHORT", "X", "-100", "20")


def figures(book: Book) -> tuple[str, ...]:
    """Quantity and cost of X as they are written, then the portfolio's realised P&L and cash; checks the book too."""
    check_book(book)
    position = book.positions.get(X)
    held = (f"{position.quantity:f}", f"{position.cost_basis:f}") if position is not None else ("flat", "flat")
    return (*held, f"{book.realized_pnl:f}", f"{book.cash:f}")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([buy("100", "10", fee="1.50")], ("100.00000000", "1000.000000", "0.000000", "-1001.50")),
        ([buy("100", "10"), buy("50", "13")], ("150.00000000", "1650.000000", "0.000000", "-1650.00")),
        ([buy("100", "10"), sell("40", "12")], ("60.00000000", "600.000000", "80.000000", "-520.00")),
        ([buy("3", "1"), sell("1", "1"), buy("1", "2")], ("3.00000000", "4.000000", "0.000000", "-4.00")),
        # A third of 10.00 is relieved at six decimals, and what is left over goes with the last unit.
        ([buy("3", "3.33333333"), sell("1", "4")], ("2.00000000", "6.666667", "0.666667", "-6.00")),
        ([buy("3", "3.33333333")] + [sell("1", "4")] * 3, ("flat", "flat", "2.000000", "2.00")),
        ([SHORT_100, transaction("COVER", "X", "25", "16")], ("-75.00000000", "-1500.000000", "100.000000", "1600.00")),
        # 0.005 is a cent bought or sold: halves go away from zero.
        ([buy("1", "0.005")], ("1.00000000", "0.010000", "0.000000", "-0.01")),
        ([transaction("SHORT", "X", "-1", "0.005")], ("-1.00000000", "-0.010000", "0.000000", "0.01")),
        # A cost may round to nothing; the position stays.
        ([buy("0.00000001", "0.00000001")], ("0.00000001", "0.000000", "0.000000", "0.00")),
        ([buy("0.00000001", "0.00000001"), sell("0.00000002", "1")], ("-0.00000001", "0.000000", "0.000000", "0.00")),
    ],
)
def test_trades_at_average_cost(items: list[Transaction], expected: tuple[str, ...]) -> None:
    assert figures(book_of(*items)) == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        # Sold 100 at 3: 50 close for 150.00 against 50.00, 50 open for 150.00.
        ([buy("50", "1"), sell("100", "3")], ("-50.00000000", "-150.000000", "100.000000", "250.00")),
        ([SHORT_100, buy("150", "18")], ("50.00000000", "900.000000", "200.000000", "-700.00")),
        # 3 at 0.335 are 1.005, so 1.01; one closes for 0.34 (0.335), and the rest, 0.67, opens the other two.
        ([buy("1", "0.3"), sell("3", "0.335")], ("-2.00000000", "-0.670000", "0.040000", "0.71")),
        ([sell("1", "0.3"), buy("3", "0.335")], ("2.00000000", "0.670000", "-0.040000", "-0.71")),
        # The whole rounds to 0.01 and so does the closing part: the new short costs nothing.
        ([buy("1", "0.005"), sell("2", "0.005")], ("-1.00000000", "0.000000", "0.000000", "0.00")),
    ],
)
def test_through_zero_closes_at_the_price_and_opens_with_the_rest_of_the_value(
    items: list[Transaction], expected: tuple[str, ...]
) -> None:
    assert figures(book_of(*items)) == expected


@pytest.mark.parametrize("items", [[buy("1", "10"), sell("2", "15"), buy("2", "9")], [buy("1", "10"), sell("2", "15")]])
def test_a_position_through_zero_keeps_what_it_realised(items: list[Transaction]) -> None:
    book = book_of(*items)
    assert book.positions[X].realized_pnl == book.realized_pnl != 0


@pytest.mark.parametrize("together", [True, False])
def test_a_position_opened_again_begins_at_zero_and_the_total_keeps_the_rest(together: bool) -> None:
    items = (buy("10", "10"), sell("10", "12"), buy("10", "20"), sell("5", "19"))
    book = booked(book_of(), *items) if together else book_of(*items)
    assert [str(book.positions[X].realized_pnl), str(book.realized_pnl)] == ["-5.000000", "15.000000"]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([buy("100", "20"), split("2:1")], ("200.00000000", "2000.000000", "0.000000", "-2000.00")),
        ([SHORT_100, split("2:1")], ("-200.00000000", "-2000.000000", "0.000000", "2000.00")),
        ([buy("100", "20"), split("1:3")], ("33.33333333", "2000.000000", "0.000000", "-2000.00")),
        # 0.33333333 of 33.33333333 at 60 is 20.00 for a share of 20.000000 (2,000 * 0.33333333 / 33.33333333).
        ([buy("100", "20"), split("1:3", "60")], ("33.00000000", "1980.000000", "0.000000", "-1980.00")),
        ([buy("100", "20"), split("1:3", "75")], ("33.00000000", "1980.000000", "5.000000", "-1975.00")),
        ([SHORT_100, split("1:3", "75")], ("-33.00000000", "-1980.000000", "-5.000000", "1975.00")),
        # Whole units after the split: the price has nothing to sell.
        ([buy("100", "20"), split("1:4", "80")], ("25.00000000", "2000.000000", "0.000000", "-2000.00")),
        # Less than one unit is sold whole, and nothing stays.
        ([buy("2", "20"), split("1:4", "90")], ("flat", "flat", "5.000000", "5.00")),
        ([transaction("SHORT", "X", "-2", "20"), split("1:4", "90")], ("flat", "flat", "-5.000000", "-5.00")),
        # Half a hundred-millionth is rounded away from zero.
        ([buy("0.00000001", "1"), split("1:2")], ("0.00000001", "0.000000", "0.000000", "0.00")),
    ],
)
def test_a_split_keeps_the_cost_and_sells_the_fraction_if_it_has_a_price(
    items: list[Transaction], expected: tuple[str, ...]
) -> None:
    assert figures(book_of(*items)) == expected


def test_a_split_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="leaves nothing") as caught:
        book_of(buy("0.00000001", "1"), split("1:3"))
    assert caught.value.cause["field"] == "ratio"


@pytest.mark.parametrize(
    ("market", "effective_at", "mark", "marked_at"),
    [
        (None, 0, "10.00000000", 0),  # The trade's mark of the same moment is of the old units.
        (None, 5, "10.00000000", 5),
        ((24, 2), 5, "12.00000000", 5),  # The market's mark from before the split is newer than the trade's.
        ((24, 5), 5, "12.00000000", 5),
        ((13, 6), 5, "10.00000000", 5),  # The market's mark from after the split is of the new units: left alone.
        ((24, -1), 5, "10.00000000", 5),  # Older than the trade.
        (None, -5, "20.00000000", 0),  # The trade came after the split took effect: it is of the new units.
        ((24, -6), -5, "20.00000000", 0),
    ],
)
def test_a_split_rescales_the_newest_mark_from_before_it(
    market: tuple[int, int] | None, effective_at: int, mark: str, marked_at: int
) -> None:
    marks = {X: Mark(Decimal(market[0]), minutes(market[1]))} if market is not None else {}
    book = booked(
        book_of(buy("100", "20")), split("2:1"), now=minutes(9), effective_at=minutes(effective_at), marks=marks
    )
    assert book.positions[X].trade_mark == Mark(Decimal(mark), minutes(marked_at))


def test_a_split_in_an_update_comes_between_the_trades_before_and_after_it() -> None:
    book = booked(book_of(), buy("10", "20"), split("2:1"), buy("1", "11"))
    assert figures(book)[:2] == ("21.00000000", "211.000000")
    assert book.positions[X].trade_mark.price == 11


def test_a_mark_that_a_split_would_lift_beyond_the_limits_is_refused() -> None:
    book = book_of(buy("10", "900000000000"))
    with pytest.raises(InvalidRequest) as caught:
        booked(book, split("1:2"))
    assert caught.value.cause["field"] == "ratio"


@pytest.mark.parametrize(
    ("items", "expected", "transfers"),
    [
        ([transaction("TRANSFER_IN", "X", "10", "5")], ("10.00000000", "50.000000", "0.000000", "0.00"), "50"),
        ([transaction("TRANSFER_IN", "X", "-10", "5")], ("-10.00000000", "-50.000000", "0.000000", "0.00"), "-50"),
        (
            [buy("3", "3.33333333"), transaction("TRANSFER_OUT", "X", "-1")],
            ("2.00000000", "6.666667", "0.000000", "-10.00"),
            "-3.333333",
        ),
        (
            [sell("3", "3.33333333"), transaction("TRANSFER_OUT", "X", "1")],
            ("-2.00000000", "-6.666667", "0.000000", "10.00"),
            "3.333333",
        ),
        ([buy("3", "3"), transaction("TRANSFER_OUT", "X", "-3")], ("flat", "flat", "0.000000", "-9.00"), "-9"),
    ],
)
def test_a_transfer_moves_units_with_their_cost_and_no_cash_or_gain(
    items: list[Transaction], expected: tuple[str, ...], transfers: str
) -> None:
    book = book_of(*items)
    assert figures(book) == expected
    assert book.transfers_at_cost == Decimal(transfers)


@pytest.mark.parametrize(
    ("held", "item", "value"),
    [
        (buy("3", "3.33333333"), transaction("TRANSFER_OUT", "X", "-1"), "-3.33"),
        (sell("3", "3.33333333"), transaction("TRANSFER_OUT", "X", "1"), "3.33"),
        (buy("2", "0.005"), transaction("TRANSFER_OUT", "X", "-1"), "-0.01"),
        (buy("1", "0.001"), transaction("TRANSFER_OUT", "X", "-1"), "0.00"),
        (buy("3", "3"), transaction("DIVIDEND", "X", "0", "0.335"), "1.01"),
        (sell("3", "3"), transaction("DIVIDEND", "X", "0", "0.335"), "-1.01"),
        (buy("100", "20"), split("1:3", "60"), "-20.00"),
        (sell("100", "20"), split("1:3", "60"), "20.00"),
        (buy("100", "20"), split("2:1", "10"), "0.00"),
        (buy("1", "1"), sell("1", "0.001"), "0.00"),
        (buy("1", "1"), transaction("FEE", USD, "-2.5", "1"), "-2.50"),
    ],
)
def test_an_entry_keeps_the_signed_value_of_its_transaction(held: Transaction, item: Transaction, value: str) -> None:
    (entry,) = decided(book_of(held), item).entries
    assert isinstance(entry, Booked)
    assert f"{entry.value:f}" == value


@pytest.mark.parametrize(
    ("item", "effects"),
    [
        (transaction("DEPOSIT", USD, "5", "1"), {"cash": 5, "net_deposits": 5}),
        (transaction("WITHDRAWAL", USD, "-5", "1"), {"cash": -5, "net_deposits": -5}),
        (transaction("INTEREST", USD, "5", "1"), {"cash": 5, "income": 5}),
        (transaction("INTEREST", USD, "-5", "1"), {"cash": -5, "income": -5}),
        (transaction("FEE", USD, "-5", "1"), {"cash": -5, "fees": 5}),
        (transaction("FEE", USD, "5", "1"), {"cash": 5, "fees": -5}),
        (transaction("TAX", USD, "-5", "1"), {"cash": -5, "taxes": 5}),
        (transaction("TAX", USD, "5", "1"), {"cash": 5, "taxes": -5}),
        (transaction("DIVIDEND", "X", "0", "0.5"), {"cash": 5, "income": 5}),
        (buy("1", "3", fee="2"), {"cash": -5, "fees": 2}),
        (sell("1", "3", fee="2"), {"cash": 1, "fees": 2}),
        (transaction("TRANSFER_IN", "X", "1", "5"), {"transfers_at_cost": 5}),
        (transaction("TRANSFER_OUT", "X", "-1"), {"transfers_at_cost": -3}),
    ],
)
def test_each_transaction_changes_its_own_totals_and_no_other(item: Transaction, effects: dict[str, int]) -> None:
    before = book_of(buy("10", "3"), cash="1000")
    after = booked(before, item)
    totals = ("cash", "realized_pnl", "income", "fees", "taxes", "net_deposits", "transfers_at_cost")
    assert {name: getattr(after, name) - getattr(before, name) for name in totals} == dict.fromkeys(totals, 0) | effects


@pytest.mark.parametrize(("earlier", "price"), [(-1, 10), (0, 12), (1, 12)])
def test_a_trade_booked_for_an_earlier_moment_does_not_mark(earlier: int, price: int) -> None:
    book = booked(book_of(buy("10", "10")), buy("1", "12"), now=minutes(5), effective_at=minutes(earlier))
    assert book.positions[X].trade_mark == Mark(Decimal(price), max(NOW, minutes(earlier)))
    assert book.positions[X].last_updated == minutes(5)


def test_neither_dividend_nor_transfer_marks_an_open_position() -> None:
    book = book_of(buy("10", "10"))
    items = (transaction("DIVIDEND", "X", "0", "3"), transaction("TRANSFER_IN", "X", "1", "4"))
    assert booked(book, *items, now=minutes(5)).positions[X].trade_mark == Mark(Decimal(10), NOW)
