"""The form that each type of transaction must have, and the field that an error names."""

from decimal import Decimal

import pytest

from portfolio.errors import InvalidRequest
from portfolio.transactions import CASH_ENTRIES, TRADES, Ratio, Transaction, TransactionType, checked
from tests.oracles.builders import USD, transaction


def of_type(kind: TransactionType, quantity: str, price: str, *, fee: str = "0") -> Transaction:
    """A transaction with the instrument and the ratio that its type needs."""
    ratio = "2:1" if kind is TransactionType.SPLIT else None
    return transaction(kind, USD if kind in CASH_ENTRIES else "X", quantity, price, fee=fee, ratio=ratio)


LEGAL = [
    (TransactionType.BUY, "1", "0.00000001"),
    (TransactionType.SELL, "-1", "5"),
    (TransactionType.SHORT, "-1", "5"),
    (TransactionType.COVER, "1", "5"),
    (TransactionType.DEPOSIT, "0.01", "1"),
    (TransactionType.WITHDRAWAL, "-0.01", "1.00"),
    (TransactionType.INTEREST, "3", "1"),
    (TransactionType.INTEREST, "-3", "1"),
    (TransactionType.FEE, "-2", "1"),
    (TransactionType.FEE, "2", "1"),
    (TransactionType.TAX, "-2", "1"),
    (TransactionType.TAX, "2", "1"),
    (TransactionType.DIVIDEND, "0", "0.25"),
    (TransactionType.SPLIT, "0", "0"),
    (TransactionType.SPLIT, "0", "10"),
    (TransactionType.TRANSFER_IN, "1", "0"),
    (TransactionType.TRANSFER_IN, "-1", "5"),
    (TransactionType.TRANSFER_OUT, "-1", "0"),
    (TransactionType.TRANSFER_OUT, "1", "0"),
]

WRONG_SIGNS = [
    (TransactionType.BUY, "-1", "5"),
    (TransactionType.BUY, "0", "5"),
    (TransactionType.SELL, "1", "5"),
    (TransactionType.SELL, "0", "5"),
    (TransactionType.SHORT, "1", "5"),
    (TransactionType.SHORT, "0", "5"),
    (TransactionType.COVER, "-1", "5"),
    (TransactionType.COVER, "0", "5"),
    (TransactionType.DEPOSIT, "-1", "1"),
    (TransactionType.DEPOSIT, "0", "1"),
    (TransactionType.WITHDRAWAL, "1", "1"),
    (TransactionType.WITHDRAWAL, "0", "1"),
    (TransactionType.INTEREST, "0", "1"),
    (TransactionType.FEE, "0", "1"),
    (TransactionType.TAX, "-0", "1"),
    (TransactionType.DIVIDEND, "1", "5"),
    (TransactionType.DIVIDEND, "-1", "5"),
    (TransactionType.SPLIT, "1", "0"),
    (TransactionType.TRANSFER_IN, "0", "5"),
    (TransactionType.TRANSFER_OUT, "0", "0"),
]

WRONG_PRICES = [
    *((kind, "1" if kind in (TransactionType.BUY, TransactionType.COVER) else "-1", "0") for kind in sorted(TRADES)),
    *((kind, "1" if kind in (TransactionType.BUY, TransactionType.COVER) else "-1", "-5") for kind in sorted(TRADES)),
    (TransactionType.DEPOSIT, "1", "0"),
    (TransactionType.DEPOSIT, "1", "1.01"),
    (TransactionType.WITHDRAWAL, "-1", "-1"),
    (TransactionType.INTEREST, "1", "2"),
    (TransactionType.FEE, "-1", "0"),
    (TransactionType.TAX, "-1", "100"),
    (TransactionType.DIVIDEND, "0", "0"),
    (TransactionType.DIVIDEND, "0", "-0.25"),
    (TransactionType.SPLIT, "0", "-10"),
    (TransactionType.TRANSFER_IN, "1", "-5"),
    (TransactionType.TRANSFER_OUT, "-1", "5"),
]


def test_every_type_has_a_legal_form_here() -> None:
    assert {kind for kind, _, _ in LEGAL} == set(TransactionType)


@pytest.mark.parametrize(("kind", "quantity", "price"), LEGAL)
def test_a_legal_form_comes_back_with_its_values_at_their_own_scales(
    kind: TransactionType, quantity: str, price: str
) -> None:
    asked = of_type(kind, quantity, price)
    result = checked(asked, USD)
    assert result == asked
    assert [number.as_tuple().exponent for number in (result.quantity, result.price, result.fee)] == [-8, -8, -2]


@pytest.mark.parametrize(("kind", "quantity", "price"), WRONG_SIGNS)
def test_a_sign_that_contradicts_the_type_is_refused(kind: TransactionType, quantity: str, price: str) -> None:
    with pytest.raises(InvalidRequest, match=kind.value) as caught:
        checked(of_type(kind, quantity, price), USD)
    assert caught.value.cause["field"] == "quantity_change"


@pytest.mark.parametrize(("kind", "quantity", "price"), WRONG_PRICES)
def test_a_price_that_contradicts_the_type_is_refused(kind: TransactionType, quantity: str, price: str) -> None:
    with pytest.raises(InvalidRequest, match=kind.value) as caught:
        checked(of_type(kind, quantity, price), USD)
    assert caught.value.cause["field"] == "price"


@pytest.mark.parametrize("kind", sorted(CASH_ENTRIES))
@pytest.mark.parametrize("instrument", ["X", "EUR", "usd"])
def test_a_cash_entry_names_the_base_currency(kind: TransactionType, instrument: str) -> None:
    with pytest.raises(InvalidRequest, match="the base currency USD") as caught:
        checked(transaction(kind, instrument, "1", "1"), USD)
    assert caught.value.cause == {"field": "instrument_id", "instrument_id": instrument}


@pytest.mark.parametrize("kind", sorted(set(TransactionType) - CASH_ENTRIES))
def test_the_base_currency_is_no_instrument(kind: TransactionType) -> None:
    with pytest.raises(InvalidRequest, match="an instrument, not USD") as caught:
        checked(transaction(kind, USD, "1", "1"), USD)
    assert caught.value.cause["field"] == "instrument_id"


@pytest.mark.parametrize("instrument", ["", "X" * 21, "A B", "É", "X\n", "X;"])
def test_a_malformed_instrument_is_refused(instrument: str) -> None:
    with pytest.raises(InvalidRequest, match="instrument_id"):
        checked(transaction("BUY", instrument, "1", "5"), USD)


@pytest.mark.parametrize("number", ["999999999999.99999999", "0.00000001", "1.000000000000", "1E+3"])
def test_twelve_digits_before_the_point_and_eight_after_are_taken_exactly(number: str) -> None:
    result = checked(transaction("BUY", "X", number, number), USD)
    assert (result.quantity, result.price) == (Decimal(number), Decimal(number))


@pytest.mark.parametrize("field", ["quantity_change", "price", "fee"])
@pytest.mark.parametrize(
    "number",
    [
        "1e12",
        "-1e12",
        "1000000000000.00000001",
        "1e400",
        "9.9999999e999999999999999999",
        "1e-9",
        "1e-999999999999999999",
        "1.000000001",
        "0." + "0" * 100 + "1",
        "NaN",
        "-NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
    ],
)
def test_a_number_beyond_the_limits_is_refused_by_the_name_of_its_field(field: str, number: str) -> None:
    numbers = {"quantity_change": "1", "price": "5", "fee": "0"} | {field: number}
    asked = transaction("BUY", "X", numbers["quantity_change"], numbers["price"], fee=numbers["fee"])
    with pytest.raises(InvalidRequest) as caught:
        checked(asked, USD)
    assert caught.value.cause["field"] == field
    assert caught.value.detail.startswith(f"{field} is ")
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("kind", sorted(CASH_ENTRIES))
def test_a_cash_entry_has_no_fraction_of_a_cent(kind: TransactionType) -> None:
    quantity = "-0.001" if kind is TransactionType.WITHDRAWAL else "0.001"
    with pytest.raises(InvalidRequest, match="at most 2 decimals") as caught:
        checked(transaction(kind, USD, quantity, "1"), USD)
    assert caught.value.cause == {"field": "quantity_change", "limit": 2}


@pytest.mark.parametrize("kind", sorted(set(TransactionType) - TRADES))
def test_a_fee_goes_with_trades_alone(kind: TransactionType) -> None:
    quantity, price = next((quantity, price) for legal, quantity, price in LEGAL if legal is kind)
    with pytest.raises(InvalidRequest) as caught:
        checked(of_type(kind, quantity, price, fee="0.01"), USD)
    assert caught.value.cause["field"] == "fee"


@pytest.mark.parametrize("fee", ["-0.01", "0.001"])
def test_a_fee_is_whole_cents_and_not_below_zero(fee: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(transaction("BUY", "X", "1", "5", fee=fee), USD)
    assert caught.value.cause["field"] == "fee"


def test_negative_zeros_become_zeros() -> None:
    result = checked(transaction("SPLIT", "X", "-0", "-0.0", fee="-0", ratio="2:1"), USD)
    assert [str(number) for number in (result.quantity, result.price, result.fee)] == ["0E-8", "0E-8", "0.00"]


@pytest.mark.parametrize("kind", sorted(TransactionType))
def test_a_ratio_goes_with_a_split_and_with_no_other(kind: TransactionType) -> None:
    quantity, price = next((quantity, price) for legal, quantity, price in LEGAL if legal is kind)
    ratio = None if kind is TransactionType.SPLIT else "2:1"
    instrument = USD if kind in CASH_ENTRIES else "X"
    with pytest.raises(InvalidRequest) as caught:
        checked(transaction(kind, instrument, quantity, price, ratio=ratio), USD)
    assert caught.value.cause["field"] == "ratio"


@pytest.mark.parametrize(
    ("text", "ratio"), [("2:1", Ratio(2, 1)), ("001:3", Ratio(1, 3)), ("1000000:1", Ratio(10**6, 1))]
)
def test_a_ratio_is_read_as_new_for_old(text: str, ratio: Ratio) -> None:
    assert Ratio.parse(text) == ratio


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "2",
        "2:",
        ":1",
        "0:1",
        "1:0",
        "-2:1",
        "+2:1",
        "2.0:1",
        "2:1:1",
        " 2:1",
        "2/1",
        "1000001:1",
        "1:1000001",
        "²:1",
        "٢:1",
        "1_0:1",
        "2:1" + "0" * 100,
    ],
)
def test_anything_else_is_no_ratio(text: str) -> None:
    with pytest.raises(InvalidRequest, match="new:old") as caught:
        Ratio.parse(text)
    assert caught.value.cause["field"] == "ratio"


@pytest.mark.parametrize(("new", "old"), [(0, 1), (1, 0), (-1, 1), (-1, -2), (1_000_001, 1), (1, 10**30)])
def test_a_ratio_beyond_its_terms_cannot_be_made(new: int, old: int) -> None:
    with pytest.raises(InvalidRequest, match="new:old") as caught:
        Ratio(new, old)
    assert caught.value.cause["field"] == "ratio"
