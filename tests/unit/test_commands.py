"""The fingerprint by which a retry is known."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portfolio.commands import Command, OpenPortfolio, UpdatePortfolio, request_hash
from portfolio.ids import Currency, IdempotencyKey, InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.transactions import Ratio, Transaction, TransactionType
from tests.oracles.builders import NOW, buy, change, deposit, minutes, opening, transaction, update
from tests.oracles.strategies import legal_sequences

BUY = buy("1", "5")
ODD_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e9999999", "1e-9999999", "1." + "0" * 99 + "1", "0." + "3" * 200)


def written_otherwise(number: Decimal, zeros: int) -> Decimal:
    """The same value with another number of zeros behind it."""
    return Decimal(f"{number:f}" + ("" if "." in f"{number:f}" else ".") + "0" * zeros)


@given(legal_sequences(), st.integers(0, 90))
def test_numbers_count_by_value(items: tuple[Transaction, ...], zeros: int) -> None:
    others = [
        replace(
            item,
            quantity=written_otherwise(item.quantity, zeros),
            price=written_otherwise(item.price, zeros),
            fee=written_otherwise(item.fee, zeros),
        )
        for item in items
    ]
    assert request_hash(update(*others)) == request_hash(update(*items))


@given(legal_sequences(), legal_sequences())
def test_different_transactions_have_different_hashes(
    first: tuple[Transaction, ...], second: tuple[Transaction, ...]
) -> None:
    assume(first != second)
    assert request_hash(update(*first)) != request_hash(update(*second))


@pytest.mark.parametrize(("one", "other"), [("0", "-0"), ("0", "0E+5"), ("100", "1E+2"), ("1e9999999", "10e9999998")])
def test_equal_numbers_have_one_hash(one: str, other: str) -> None:
    assert request_hash(update(deposit(one))) == request_hash(update(deposit(other)))


def test_any_number_has_a_hash_of_its_own() -> None:
    hashes = {request_hash(update(deposit(number))) for number in ("0", "1", *ODD_NUMBERS)}
    assert len(hashes) == len(ODD_NUMBERS) + 2
    assert len(request_hash(update(deposit("sNaN")))) == 16


@pytest.mark.parametrize(
    ("command", "retry"),
    [
        (opening(), replace(opening(), idempotency_key=IdempotencyKey("k"))),
        (update(BUY), replace(update(BUY), idempotency_key=IdempotencyKey("k"), expected_version=3)),
        (
            change(Status.CLOSED),
            replace(change(Status.CLOSED), idempotency_key=IdempotencyKey("k"), expected_version=3),
        ),
    ],
)
def test_the_key_and_the_expected_version_do_not_count(command: Command, retry: Command) -> None:
    assert command != retry
    assert request_hash(command) == request_hash(retry)


def test_each_part_of_an_opening_counts() -> None:
    first = opening()
    others: list[OpenPortfolio] = [
        replace(first, portfolio_id=PortfolioId("OTHER")),
        replace(first, portfolio_name="Other"),
        replace(first, base_currency=Currency("EUR")),
        replace(first, cash_balance=Decimal("0.01")),
        replace(first, allow_short=False),
        replace(first, min_cash=Decimal(0)),
        replace(first, min_cash=Decimal("0.01")),
    ]
    assert len({request_hash(command) for command in (first, *others)}) == len(others) + 1


def test_each_part_of_an_update_and_its_order_counts() -> None:
    first = update(BUY)
    changed = [
        replace(BUY, transaction_type=TransactionType.COVER),
        replace(BUY, instrument_id=InstrumentId("Y")),
        replace(BUY, quantity=Decimal("1.1")),
        replace(BUY, price=Decimal("5.1")),
        replace(BUY, fee=Decimal("0.1")),
        replace(BUY, ratio=Ratio(2, 1)),
        replace(BUY, ratio=Ratio(1, 2)),
        replace(BUY, transaction_id=UUID(int=1)),
        replace(BUY, transaction_id=UUID(int=2)),
    ]
    others: list[UpdatePortfolio] = [
        *map(update, changed),
        replace(first, portfolio_id=PortfolioId("OTHER")),
        update(BUY, effective_at=NOW),
        update(BUY, effective_at=minutes(1)),
        update(),
        update(BUY, BUY),
        update(BUY, transaction("BUY", "Y", "1", "5")),
        update(transaction("BUY", "Y", "1", "5"), BUY),
    ]
    assert len({request_hash(command) for command in (first, *others)}) == len(others) + 1


def test_each_status_counts() -> None:
    commands = [*map(change, Status), replace(change(Status.ACTIVE), portfolio_id=PortfolioId("OTHER"))]
    assert len({request_hash(command) for command in commands}) == len(commands)


def test_a_hash_stays_the_same_for_ever() -> None:
    # Hashes are kept in the journal: another one for the same command would refuse a retry after an upgrade.
    assert request_hash(update(BUY, effective_at=NOW)).hex() == "748084a95c3a3fcc9c6ffa0d7eeede4c"
    assert request_hash(opening(cash="100.50", min_cash="0")).hex() == "9f9cf2d55f9ae376d8b2e6ad1bbdbcf6"
    assert request_hash(change(Status.SUSPENDED)).hex() == "989a599e85a0dff8eb5e1f7af9b0f12d"
