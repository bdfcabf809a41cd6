"""Laws that hold for every book, whatever its history."""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portfolio.book import Book, Mark
from portfolio.decide import Decision, decide, deciding
from portfolio.entries import Booked, Entry, derived_id
from portfolio.errors import Conflict, InvalidRequest, Rejected
from portfolio.ids import PortfolioId
from portfolio.invariants import check_book
from portfolio.ledger import replay
from portfolio.transactions import Transaction
from portfolio.valuation import Valuation, value
from tests.oracles.builders import NOW, PORTFOLIO, book_of, decided, update
from tests.oracles.playing import play
from tests.oracles.reference import reference_figures, rounded
from tests.oracles.strategies import (
    History,
    Marks,
    Step,
    broken_transactions,
    histories,
    legal_sequences,
    market_marks,
)


def sources(book: Book, valuation: Valuation) -> Decimal:
    """The right-hand side of the total-value identity."""
    gains = sum(item.market_value - item.position.cost_basis for item in valuation.positions)
    return book.net_deposits + book.transfers_at_cost + book.realized_pnl + gains + book.income - book.fees - book.taxes


@given(histories(), market_marks(NOW))
def test_the_total_value_is_what_came_in_and_what_was_made_of_it(history: History, marks: Marks) -> None:
    for book in play(history).books:
        for valuation in (value(book, {}), value(book, marks)):
            assert valuation.total_value == sources(book, valuation)
            assert valuation.total_value == book.cash + valuation.net_exposure


@given(histories())
def test_every_book_of_every_history_passes_its_invariants(history: History) -> None:
    for book in play(history).books:
        check_book(book)


@given(histories())
def test_replay_equals_live_from_the_beginning_and_from_any_book_on_the_way(history: History) -> None:
    played = play(history)
    assert replay(None, played.entries) == played.book
    for book in played.books:
        assert replay(book, played.entries[book.version :]) == played.book
        assert replay(None, played.entries[: book.version]) == book


@given(histories())
def test_versions_have_no_gap_and_begin_at_one(history: History) -> None:
    played = play(history)
    assert [entry.version for entry in played.entries] == list(range(1, played.book.version + 1))


@given(histories())
def test_a_refusal_says_what_is_wrong_and_books_nothing(history: History) -> None:
    played = play(history)  # Playing asserts that the book stays what it was.
    for step, error in played.refused:
        assert error.detail
        assert error.code
        transactions = getattr(step.command, "transactions", ())
        assert error.cause.get("index", 0) in range(len(transactions) or 1)
    asked = len(history.steps) + 1
    assert len(played.books) + len(played.refused) == asked


@given(histories(limited=False))
def test_the_core_agrees_with_the_reference(history: History) -> None:
    played = play(history)
    figures = reference_figures(played.transactions)
    book = played.book
    assert book.cash == figures.cash
    assert book.realized_pnl == figures.realized
    assert book.income == figures.income
    assert book.fees == figures.fees
    assert book.taxes == figures.taxes
    assert book.net_deposits == figures.net_deposits
    assert book.transfers_at_cost == figures.transfers
    assert book.positions.keys() == figures.holdings.keys()
    for instrument_id, position in book.positions.items():
        holding = figures.holdings[instrument_id]
        assert position.quantity == holding.quantity
        assert position.cost_basis == holding.cost
        assert position.realized_pnl == holding.realized


def test_legal_histories_are_mostly_booked() -> None:
    booked, refused = 0, 0

    @given(histories(broken=False))
    def count(history: History) -> None:
        nonlocal booked, refused
        played = play(history)
        booked += len(played.books)
        refused += len(played.refused)

    count()
    assert booked > refused


@given(legal_sequences())
def test_an_update_books_what_its_transactions_book_one_by_one(items: tuple[Transaction, ...]) -> None:
    together = book_of()
    try:
        together = decided(together, *items).book
    except InvalidRequest:
        assume(False)
    assert together == book_of(*items)


@given(legal_sequences(size_max=4), broken_transactions(), st.randoms(use_true_random=False))
def test_an_update_with_one_wrong_transaction_books_none_and_names_it(
    items: tuple[Transaction, ...], broken: tuple[Transaction, str], chance: random.Random
) -> None:
    wrong, field = broken
    book = book_of()
    copy = deepcopy(book)
    try:
        decided(book, *items)
    except Rejected:
        assume(False)
    index = chance.randint(0, len(items))
    with pytest.raises(InvalidRequest) as caught:
        decided(book, *items[:index], wrong, *items[index:])
    assert (caught.value.cause["index"], caught.value.cause["field"]) == (index, field)
    assert book == copy


@given(legal_sequences(), legal_sequences())
def test_two_decisions_taken_in_turns_are_those_taken_alone(
    first: tuple[Transaction, ...], second: tuple[Transaction, ...]
) -> None:
    book = book_of(cash="1000")
    running = [deciding(book, update(*items), now=NOW) for items in (first, second)]
    decisions: dict[int, Decision | Rejected] = {}
    taken = [0, 0]
    while len(decisions) < 2:
        for index, steps in enumerate(running):
            if index in decisions:
                continue
            try:
                next(steps)
                taken[index] += 1
            except StopIteration as done:
                decisions[index] = done.value
            except Rejected as error:
                decisions[index] = error
    for index, items in enumerate((first, second)):
        alone = decisions[index]
        if isinstance(alone, Rejected):
            with pytest.raises(type(alone)):
                decided(book, *items)
        else:
            assert alone == decided(book, *items)
            assert taken[index] == len(items)


@given(histories(), market_marks(NOW))
def test_weights_with_that_of_cash_sum_to_one_within_rounding(history: History, marks: Marks) -> None:
    book = play(history).book
    valuation = value(book, marks)
    weights = [valuation.weight(item.market_value) for item in valuation.positions] + [valuation.weight(book.cash)]
    if valuation.total_value <= 0:
        assert weights == [None] * len(weights)
    else:
        known = [weight for weight in weights if weight is not None]
        assert len(known) == len(weights)
        assert abs(sum(known, Decimal(-1))) <= Decimal("0.0000005") * len(known)


@given(histories(), market_marks(NOW), st.data())
def test_revaluation_leaves_the_book_alone_and_grows_with_newer_marks(
    history: History, marks: Marks, data: st.DataObject
) -> None:
    book = play(history).book
    copy = deepcopy(book)
    assume(book.positions)
    before = value(book, marks)
    moved = data.draw(st.sampled_from(sorted(book.positions)))
    newest = max(mark.time for mark in (*marks.values(), *(item.trade_mark for item in book.positions.values())))
    later = Mark(data.draw(st.integers(1, 10**6).map(Decimal)), newest + timedelta(microseconds=1))
    after = value(book, {**marks, moved: later})
    assert book == copy
    assert after.revaluation > before.revaluation
    assert [item.position for item in after.positions] == [item.position for item in before.positions]
    assert after.last_updated >= before.last_updated
    held = book.positions[moved].quantity
    assert {item.position.instrument_id: item.market_value for item in after.positions}[moved] == rounded(
        Fraction(held) * Fraction(later.price), 2
    )


@given(histories())
def test_every_transaction_has_an_id_of_its_own(history: History) -> None:
    booked = [entry for entry in play(history).entries if isinstance(entry, Booked)]
    assert [entry.transaction_id for entry in booked] == [derived_id(PORTFOLIO, entry.version) for entry in booked]


Outcome = tuple[Book | None, list[Entry]]


def outcomes(histories_: Mapping[PortfolioId, History], order: Sequence[PortfolioId]) -> dict[PortfolioId, Outcome]:
    """Each portfolio's book and entries after every turn of `order` decided its next command."""
    results: dict[PortfolioId, Outcome] = {portfolio_id: (None, []) for portfolio_id in histories_}
    queues = {
        portfolio_id: [Step(history.opening, NOW, {}), *history.steps] for portfolio_id, history in histories_.items()
    }
    for portfolio_id in order:
        step = queues[portfolio_id].pop(0)
        book, entries = results[portfolio_id]
        command = replace(step.command, portfolio_id=portfolio_id)
        with suppress(Rejected, Conflict):
            decision = decide(book, command, now=step.now, marks=step.marks)
            results[portfolio_id] = (decision.book, [*entries, *decision.entries])
    return results


@given(histories(steps_max=5), histories(steps_max=5), st.randoms(use_true_random=False))
def test_the_order_of_independent_portfolios_does_not_matter(
    first: History, second: History, chance: random.Random
) -> None:
    portfolios = {PortfolioId("FIRST"): first, PortfolioId("SECOND"): second}
    one_by_one = [portfolio_id for portfolio_id, history in portfolios.items() for _ in range(len(history.steps) + 1)]
    mixed = chance.sample(one_by_one, len(one_by_one))
    assert outcomes(portfolios, mixed) == outcomes(portfolios, one_by_one)
