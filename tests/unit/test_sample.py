"""The sample: the same everywhere, valid, of every type, at real prices."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from cluster.sample import SamplePortfolio, last_key, sample_commands, sample_shares
from cluster.sample_chance import Chance
from cluster.sample_life import TRANSACTIONS_MIN, UPDATE_SIZE_MAX
from cluster.sample_prices import SAMPLE_INDEX, SAMPLE_PRICES, SPLITS, read_prices
from portfolio.book import Book
from portfolio.commands import UpdatePortfolio, request_hash
from portfolio.daily_price import checked
from portfolio.decide import decide
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.invariants import check_book
from portfolio.status import Status
from portfolio.transactions import TRADES, Transaction, TransactionType
from portfolio.valuation import value
from tests.oracles.builders import NOW

PRICES = read_prices()
MARKS = PRICES.last_marks()
SAMPLE = list(sample_commands(PRICES))
SOME = SAMPLE[:40] + SAMPLE[-10:]


def updates(sample: Sequence[SamplePortfolio]) -> list[UpdatePortfolio]:
    return [command for item in sample for command in item.commands if isinstance(command, UpdatePortfolio)]


def transactions(sample: Sequence[SamplePortfolio]) -> list[Transaction]:
    return [transaction for update in updates(sample) for transaction in update.transactions]


def fingerprint(sample: Sequence[SamplePortfolio]) -> str:
    hashes = [request_hash(command) for item in sample for command in (item.opening, *item.commands)]
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def replayed(portfolio: SamplePortfolio) -> Book:
    book = decide(None, portfolio.opening, now=NOW).book
    for command in portfolio.commands:
        book = decide(book, command, now=NOW, marks=MARKS).book
        check_book(book)
    return book


def day_of(update: UpdatePortfolio) -> int:
    assert update.effective_at is not None
    return PRICES.days.index(update.effective_at.date())


def test_the_sample_is_the_same_on_every_machine() -> None:
    # Idempotency keys stand for these very commands: change them only together with the keys.
    assert fingerprint(SAMPLE) == "c2a8586d26ec614191e94d72461f3c7d0eb08f0a05cdcead8e9eb4b8b0137cdd"


def test_another_seed_gives_other_commands() -> None:
    def of(seed: int) -> str:
        return fingerprint(list(sample_commands(PRICES, seed=seed, portfolio_count=5, transaction_count=250)))

    assert of(1) == of(1) != of(2)


def test_skipping_portfolios_changes_no_other() -> None:
    skipped = {item.opening.portfolio_id for item in SAMPLE if item not in SOME}
    assert list(sample_commands(PRICES, skip=skipped)) == SOME


def test_it_has_a_thousand_portfolios_and_fifty_thousand_transactions() -> None:
    ids = [item.opening.portfolio_id for item in SAMPLE]
    assert (ids[0], ids[-1], len(set(ids))) == ("PORTFOLIO-0001", "PORTFOLIO-1000", 1_000)
    assert len(transactions(SAMPLE)) == 50_000
    assert len({item.opening.portfolio_name for item in SAMPLE}) > 500


@pytest.mark.parametrize(("portfolio_count", "transaction_count"), [(3, 150), (7, 333), (4, 4 * TRANSACTIONS_MIN)])
def test_any_number_of_transactions_comes_out_even(portfolio_count: int, transaction_count: int) -> None:
    sample = list(sample_commands(PRICES, portfolio_count=portfolio_count, transaction_count=transaction_count, seed=3))
    assert len(transactions(sample)) == transaction_count
    shares = sample_shares(portfolio_count, transaction_count)
    assert [len(transactions([item])) for item in sample] == list(shares.values())


def test_too_few_transactions_are_refused() -> None:
    with pytest.raises(ValueError, match="44 transactions a portfolio, expected at least 45"):
        next(sample_commands(PRICES, portfolio_count=2, transaction_count=89))


def test_every_type_occurs_and_splits_with_and_without_a_price() -> None:
    found = Counter(
        (item.transaction_type, bool(item.price))
        if item.transaction_type is TransactionType.SPLIT
        else item.transaction_type
        for item in transactions(SAMPLE)
    )
    assert {*TransactionType} - {TransactionType.SPLIT} <= found.keys()
    assert found[TransactionType.SPLIT, True] > 100
    assert found[TransactionType.SPLIT, False] > 100
    assert min(found.values()) > 100


def test_an_update_holds_one_to_ten_transactions_of_one_trading_day() -> None:
    sizes = {len(update.transactions) for update in updates(SAMPLE)}
    assert sizes == set(range(1, UPDATE_SIZE_MAX + 1))
    assert {update.effective_at for update in updates(SAMPLE)} <= {
        PRICES.moment(index) for index in range(len(PRICES.days))
    }


@pytest.mark.parametrize("portfolio", SOME, ids=lambda item: str(item.opening.portfolio_id))
def test_every_command_is_valid_and_every_book_sound(portfolio: SamplePortfolio) -> None:
    book = replayed(portfolio)
    if book.status is Status.CLOSED:
        return
    assert book.status is Status.LIQUIDATING or 10 <= len(book.positions) <= 20
    assert value(book, MARKS).total_value > 0
    assert book.min_cash is None or book.cash >= book.min_cash


def test_most_portfolios_hold_all_twenty_stocks() -> None:
    traded = [{item.instrument_id for item in transactions([portfolio]) if item.price != 1} for portfolio in SAMPLE]
    assert 700 < sum(len(stocks) == 20 for stocks in traded) < 800
    assert min(map(len, traded)) >= 10


def test_time_goes_on_within_a_portfolio() -> None:
    for portfolio in SOME:
        days = [day_of(update) for update in updates([portfolio])]
        assert days == sorted(days)
        assert days[0] == 0


def test_a_portfolio_begins_with_nothing_and_a_deposit_on_the_first_day() -> None:
    for portfolio in SAMPLE:
        first = portfolio.commands[0]
        assert isinstance(first, UpdatePortfolio)
        assert not portfolio.opening.cash_balance
        assert first.effective_at == PRICES.moment(0)
        assert first.transactions[0].transaction_type is TransactionType.DEPOSIT


def test_the_last_three_show_what_a_status_does() -> None:
    assert [replayed(item).status for item in SAMPLE[-4:]] == [
        Status.ACTIVE,
        Status.SUSPENDED,
        Status.LIQUIDATING,
        Status.CLOSED,
    ]


def test_styles_differ_in_shorts_minimum_cash_and_fractions() -> None:
    assert {(item.opening.allow_short, item.opening.min_cash) for item in SAMPLE} == {
        (False, Decimal(0)),
        (True, None),
        (False, Decimal(-250_000)),
    }
    books = [replayed(item) for item in SOME]
    assert any(position.quantity < 0 for book in books for position in book.positions.values())
    assert any(position.quantity % 1 for book in books for position in book.positions.values())


def test_every_command_has_a_key_of_its_own_and_the_last_one_is_known() -> None:
    for portfolio in SAMPLE:
        keys = [portfolio.opening.idempotency_key, *(command.idempotency_key for command in portfolio.commands)]
        assert None not in keys
        assert len(set(keys)) == len(keys)
        assert keys[-1] == last_key(portfolio.opening.portfolio_id)


def test_trades_are_at_that_days_real_close() -> None:
    closes = {
        (row["instrument_id"], row["date"]): row["close"]
        for row in pl.read_parquet(SAMPLE_PRICES).iter_rows(named=True)
    }
    for update in updates(SOME):
        day = PRICES.days[day_of(update)]
        for item in update.transactions:
            if item.transaction_type in TRADES:
                split = next((found for found in SPLITS if found.instrument_id == item.instrument_id), None)
                factor = Decimal(split.ratio.new) / split.ratio.old if split and day < split.day else Decimal(1)
                assert item.price == closes[item.instrument_id, day] * factor


def test_before_a_split_prices_are_in_the_units_of_then() -> None:
    assert PRICES.on(0, InstrumentId("AAPL")) == Decimal("163.328")  # 40.832 in units of 2022.
    assert PRICES.on(0, InstrumentId("GE")) == Decimal("12.88775")  # 103.102
    assert PRICES.on(len(PRICES.days) - 1, InstrumentId("AAPL")) == Decimal("125.674")


def test_a_split_comes_on_its_day_and_changes_nobodys_wealth() -> None:
    for split in SPLITS:
        index = PRICES.days.index(split.day)
        before, after = PRICES.on(index - 1, split.instrument_id), PRICES.on(index, split.instrument_id)
        # Bought the day before, worth about the same on the day of the split: only the market moved.
        assert abs(after * split.ratio.new / split.ratio.old / before - 1) < Decimal("0.05")
    booked = [
        (item.instrument_id, PRICES.days[day_of(update)], item.ratio)
        for update in updates(SAMPLE)
        for item in update.transactions
        if item.ratio is not None
    ]
    assert set(booked) == {(split.instrument_id, split.day, split.ratio) for split in SPLITS}


def test_the_marks_are_the_last_closes() -> None:
    assert len(MARKS) == 20
    assert MARKS[InstrumentId("MSFT")].price == Decimal("233.434")
    assert {mark.time for mark in MARKS.values()} == {PRICES.moment(len(PRICES.days) - 1)}


def test_the_history_has_every_close_in_the_units_of_its_day_and_adjusted() -> None:
    history = {(price.instrument_id, price.day): price for price in PRICES.daily()}
    assert len(history) == 20 * len(PRICES.days) == 25_140
    for instrument, day, close, adjusted in (
        ("AAPL", date(2018, 1, 2), "163.328", "40.832"),
        ("AAPL", date(2020, 8, 28), "491.028", "122.757"),
        ("AAPL", date(2020, 8, 31), "126.92", "126.92"),
        ("GE", date(2021, 7, 30), "10.032625", "80.261"),
        ("MSFT", date(2022, 12, 28), "233.434", "233.434"),
    ):
        price = history[InstrumentId(instrument), day]
        assert (price.close, price.adjusted_close) == (Decimal(close), Decimal(adjusted))
    assert all(checked(price, last_day=PRICES.days[-1]) == price for price in history.values())


def test_the_index_has_the_days_of_the_stocks() -> None:
    index = read_prices(SAMPLE_INDEX)
    assert (index.instruments, index.days) == (("SP500",), PRICES.days)
    levels = list(index.daily())
    assert all(level.close == level.adjusted_close for level in levels)
    assert (levels[0].close, levels[-1].close) == (Decimal("2695.81"), Decimal("3783.22"))


def test_prices_of_which_a_day_is_missing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.parquet"
    days = [date(2022, 1, 3) + timedelta(days=number) for number in (0, 1, 0)]
    pl.DataFrame({"instrument_id": ["A", "A", "B"], "date": days, "close": [Decimal("1.5")] * 3}).write_parquet(path)
    with pytest.raises(ValueError, match="B has 1 days, expected each of 2 once"):
        read_prices(path)


def test_draws_stay_within_their_bounds_and_reach_them() -> None:
    chance = Chance("bounds")
    assert {chance.between(-1, 2) for _ in range(200)} == {-1, 0, 1, 2}
    assert sorted(chance.some_of(range(5), 5)) == [0, 1, 2, 3, 4]


def test_portfolio_ids_are_those_of_the_shares() -> None:
    assert list(sample_shares(3, 151).items()) == [
        (PortfolioId("PORTFOLIO-0001"), 51),
        (PortfolioId("PORTFOLIO-0002"), 50),
        (PortfolioId("PORTFOLIO-0003"), 50),
    ]
