"""The form of what callers send, and the commands that it becomes."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import ValidationError

from portfolio.errors import InvalidRequest
from portfolio.ids import IdempotencyKey, PortfolioId
from portfolio.status import Status
from portfolio.transactions import Ratio, TransactionType
from serve_app.batches import newest_marks
from serve_app.schemas import (
    KeyedUpdate,
    MarkBatch,
    MarkUpdate,
    PortfolioOpening,
    PortfolioUpdate,
    PositionUpdate,
    StatusChange,
    UpdateBatch,
)

P = PortfolioId("P")


def position_update(**changed: object) -> PositionUpdate:
    given = {"transaction_type": "BUY", "instrument_id": "A", "quantity_change": 1, "price": 1, **changed}
    return PositionUpdate.model_validate(given)


def test_an_opening_has_the_defaults_of_the_contract() -> None:
    command = PortfolioOpening.model_validate({"portfolio_id": "P"}).command(None)
    assert (command.portfolio_name, command.base_currency, command.cash_balance) == ("P", "USD", Decimal(0))
    assert (command.allow_short, command.min_cash, command.idempotency_key) == (True, None, None)


@pytest.mark.parametrize("name", ["transaction_type", "status"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_words_are_taken_in_any_case(name: str, case: type[str]) -> None:
    if name == "status":
        change = StatusChange.model_validate({"status": case("SUSPENDED")})
        assert change.command(P, None, None).status is Status.SUSPENDED
    else:
        assert position_update(transaction_type=case("TRANSFER_IN")).transaction_type is TransactionType.TRANSFER_IN


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2025-06-21T10:00:00Z", datetime(2025, 6, 21, 10, tzinfo=UTC)),
        ("2025-06-21t10:00:00.5z", datetime(2025, 6, 21, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2025-06-21 12:00:00+02:00", datetime(2025, 6, 21, 10, tzinfo=UTC)),
        ("2025-06-20T23:30:00.000001-10:30", datetime(2025, 6, 21, 10, 0, 0, 1, tzinfo=UTC)),
        ("2025-06-21T10:00:00-00:00", datetime(2025, 6, 21, 10, tzinfo=UTC)),
    ],
)
def test_a_time_is_taken_with_any_offset(written: str, moment: datetime) -> None:
    update = PortfolioUpdate.model_validate({"updates": [position_update()], "timestamp": written})
    assert update.timestamp == moment


@pytest.mark.parametrize(
    "written",
    [
        *("2025-06-21", "2025-06-21T10:00:00", "2025-06-21T10:00Z", "now", "", 1750500000, None, True, []),
        *("2025-06-31T10:00:00Z", "2025-06-21T24:00:00Z", "2025-06-21T10:00:60Z", "2025-06-21T10:00:00+25:00"),
        *(
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00Z",
            "2025-06-21T10:00:00.1234567Z",
        ),
        *("２０２５-06-21T10:00:00Z", " 2025-06-21T10:00:00Z", "2025-06-21T10:00:00Z\n", "2025-06-21T10:00:00Zx"),
    ],
)
def test_what_is_no_time_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        MarkUpdate.model_validate({"instrument_id": "A", "price": 1, "as_of": written if written is not None else 0})


@pytest.mark.parametrize(
    "portfolio_id", ["", "a" * 101, "a b", "a/b", "é", "a\n", "\na", "a\x00", "%41", "ａ", 7, None]
)
def test_a_portfolio_id_that_does_not_fit_is_refused(portfolio_id: object) -> None:
    with pytest.raises(ValidationError):
        PortfolioOpening.model_validate({"portfolio_id": portfolio_id})


@pytest.mark.parametrize("portfolio_id", ["a", "a" * 100, ".", "..", "A-Z:0_9.", "-"])
def test_a_portfolio_id_that_fits_is_taken(portfolio_id: str) -> None:
    assert PortfolioOpening.model_validate({"portfolio_id": portfolio_id}).portfolio_id == portfolio_id


@pytest.mark.parametrize("instrument_id", ["", "A" * 21, "A B", "Ä", "A\n", "A'", 'A"', "A;", "A\x00"])
def test_an_instrument_id_that_does_not_fit_is_refused(instrument_id: str) -> None:
    with pytest.raises(ValidationError):
        position_update(instrument_id=instrument_id)


@pytest.mark.parametrize("currency", ["usd", "US", "USDT", "U$D", "ÜSD", "USD\n"])
def test_a_currency_that_does_not_fit_is_refused(currency: str) -> None:
    with pytest.raises(ValidationError):
        PortfolioOpening.model_validate({"portfolio_id": "P", "base_currency": currency})


def test_an_unknown_field_is_refused_everywhere() -> None:
    for model, content in (
        (PortfolioOpening, {"portfolio_id": "P", "extra": 1}),
        (PortfolioUpdate, {"updates": [position_update()], "extra": 1}),
        (StatusChange, {"status": "ACTIVE", "extra": 1}),
        (MarkUpdate, {"instrument_id": "A", "price": 1, "extra": 1}),
        (KeyedUpdate, {"portfolio_id": "P", "updates": [position_update()], "extra": 1}),
    ):
        with pytest.raises(ValidationError, match="Extra inputs"):
            model.model_validate(content)


def test_lists_are_bounded() -> None:
    one, mark = position_update(), MarkUpdate.model_validate({"instrument_id": "A", "price": 1})
    keyed = KeyedUpdate(portfolio_id="P", updates=[one])
    assert len(PortfolioUpdate(updates=[one] * 1_000).updates) == 1_000
    assert len(UpdateBatch(updates=[keyed] * 1_000).updates) == 1_000
    assert len(MarkBatch(marks=[mark] * 10_000).marks) == 10_000
    for model, content in (
        (PortfolioUpdate, {"updates": [one] * 1_001}),
        (PortfolioUpdate, {"updates": []}),
        (UpdateBatch, {"updates": [keyed] * 1_001}),
        (UpdateBatch, {"updates": []}),
        (MarkBatch, {"marks": [mark] * 10_001}),
        (MarkBatch, {"marks": []}),
    ):
        with pytest.raises(ValidationError):
            model.model_validate(content)


def test_an_update_becomes_a_command() -> None:
    update = PortfolioUpdate.model_validate(
        {
            "updates": [
                {"transaction_type": "deposit", "instrument_id": "USD", "quantity_change": "5"},
                {
                    "transaction_type": "split",
                    "instrument_id": "A",
                    "ratio": "3:2",
                    "transaction_id": "6b0f0f6e-6a0e-5c5c-8f4e-0d6f3a1b2c3d",
                },
            ],
        }
    )
    command = update.command(P, IdempotencyKey("k"), 7)
    deposit, split = command.transactions
    assert (command.portfolio_id, command.idempotency_key, command.expected_version) == ("P", "k", 7)
    assert (deposit.price, deposit.quantity) == (Decimal(1), Decimal(5))
    assert (split.price, split.quantity, split.ratio) == (Decimal(0), Decimal(0), Ratio(3, 2))
    assert split.transaction_id == UUID("6b0f0f6e-6a0e-5c5c-8f4e-0d6f3a1b2c3d")


def test_a_body_for_another_portfolio_than_the_path_is_refused() -> None:
    update = PortfolioUpdate(portfolio_id="Q", updates=[position_update()])
    with pytest.raises(InvalidRequest) as refused:
        update.command(P, None, None)
    assert refused.value.cause["field"] == "portfolio_id"


@pytest.mark.parametrize("changed", [{"ratio": "0:1"}, {"ratio": "1:1000001"}, {"transaction_id": "x"}])
def test_a_transaction_that_means_nothing_is_refused_with_its_index(changed: dict[str, str]) -> None:
    update = PortfolioUpdate(updates=[position_update(), position_update(**changed)])
    with pytest.raises(InvalidRequest) as refused:
        update.command(P, None, None)
    assert refused.value.cause["index"] == 1


def mark(instrument_id: str, price: object, as_of: str | None = None) -> MarkUpdate:
    timed = {} if as_of is None else {"as_of": as_of}
    return MarkUpdate.model_validate({"instrument_id": instrument_id, "price": price, **timed})


def test_of_several_marks_the_newest_counts_and_the_last_of_equals() -> None:
    newest = newest_marks(
        [
            mark("A", 1, "2025-01-02T00:00:00Z"),
            mark("A", 2, "2025-01-01T00:00:00Z"),
            mark("A", 3, "2025-01-02T00:00:00Z"),
            mark("B", 4, "2025-01-01T00:00:00Z"),
        ]
    )
    assert {str(name): found.price for name, found in newest.items()} == {"A": Decimal(3), "B": Decimal(4)}


@pytest.mark.parametrize(
    "wrong",
    [
        mark("A", "-0.01"),
        mark("A", "0.000000001"),
        mark("A", "1e12"),
        mark("A", 1, "1969-12-31T23:59:59.999999Z"),
        mark("A", 1, "9999-01-01T00:00:00Z"),
    ],
)
def test_a_mark_that_cannot_be_is_refused_with_its_index(wrong: MarkUpdate) -> None:
    with pytest.raises(InvalidRequest) as refused:
        newest_marks([mark("B", 1), wrong])
    assert refused.value.cause["index"] == 1
