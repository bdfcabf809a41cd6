"""Documents: exact numbers in plain digits, times with microseconds, and no text made twice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.books import Books
from actors.documents import moment, to_json
from actors.rendering import Encoded, Rendering, encode
from portfolio.book import Mark
from portfolio.entries import derived_id
from portfolio.errors import PortfolioNotFound
from portfolio.ids import InstrumentId
from portfolio.valuation import value
from tests.oracles.builders import NOW, X, book_of, buy, deposit, minutes, sell, transaction
from tests.oracles.documents import event_document, state_document
from tests.oracles.playing import play
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.oracles.strategies import INSTRUMENTS, PRICES, History, histories

NUMBER = re.compile(rb"-?\d+(\.\d+)?")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

STATE_FIELDS = [
    "portfolio_id", "portfolio_name", "base_currency", "status", "version", "total_value", "cash_balance",
    "realized_pnl", "unrealized_pnl", "income", "fees", "taxes", "gross_exposure", "net_exposure", "positions",
    "weights", "last_updated",
]  # fmt: skip
POSITION_FIELDS = [
    "instrument_id", "position_type", "quantity", "market_value", "weight", "unrealized_pnl", "cost_basis",
    "average_cost", "realized_pnl", "mark_price", "mark_time", "mark_source", "last_updated",
]  # fmt: skip


def _numbers_as_written(document: bytes) -> dict[str, str]:
    """Each number of a document, by its path, as it is written."""
    found: dict[str, str] = {}

    def walk(item: object, path: str) -> None:
        if isinstance(item, dict):
            for name, inner in item.items():
                walk(inner, f"{path}.{name}")
        elif isinstance(item, list):
            for index, inner in enumerate(item):
                walk(inner, f"{path}.{index}")
        elif isinstance(item, Decimal):
            found[path] = str(item)

    class Written(Decimal):
        """A number that remembers how it was written."""

        text = ""

        def __str__(self) -> str:
            return self.text

    def written(text: str) -> Written:
        number = Written(text)
        number.text = text
        return number

    walk(json.loads(document, parse_float=written, parse_int=written), "")
    return found


def test_a_document_has_the_fields_of_the_contract_in_its_order() -> None:
    document = json.loads(encode(book_of(deposit("5"), buy("1", "2")), {}).state)
    assert list(document) == STATE_FIELDS
    assert [list(position) for position in document["positions"]] == [POSITION_FIELDS] * 2
    assert [position["position_type"] for position in document["positions"]] == ["LONG", "CASH"]
    assert list(document["weights"]) == ["X", "USD"]


def test_numbers_are_exact_and_have_all_their_decimals() -> None:
    book = book_of(deposit("999999999999.99"), buy("123456.12345678", "999999.12345678"))
    numbers = _numbers_as_written(encode(book, {}).state)
    assert numbers[".positions.0.quantity"] == "123456.12345678"
    assert numbers[".positions.0.mark_price"] == "999999.12345678"
    assert numbers[".positions.0.market_value"] == "123456015242.15"
    assert numbers[".positions.0.cost_basis"] == "123456015242.150000"
    assert numbers[".positions.0.average_cost"] == "999999.123457"
    assert numbers[".positions.1.quantity"] == numbers[".cash_balance"] == "876543984757.84"
    assert numbers[".total_value"] == "999999999999.99"
    assert numbers[".fees"] == numbers[".taxes"] == "0.00"
    assert numbers[".realized_pnl"] == "0.000000"
    assert numbers[".version"] == "3"


def test_the_smallest_numbers_are_written_in_plain_digits() -> None:
    book = book_of(deposit("1"), buy("0.00000001", "0.00000001"))
    document = encode(book, {X: Mark(Decimal("0E-8"), minutes(1))})
    numbers = _numbers_as_written(document.state)
    assert numbers[".positions.0.quantity"] == "0.00000001"
    assert numbers[".positions.0.mark_price"] == "0.00000000"
    assert numbers[".weights.X"] == "0.000000"
    small = _numbers_as_written(encode(book_of(deposit("1"), transaction("SHORT", "X", "-0.0000009", "1")), {}).state)
    assert small[".positions.0.quantity"] == "-0.00000090"


@given(histories(steps_max=6), st.dictionaries(st.sampled_from(INSTRUMENTS), PRICES, max_size=3))
def test_every_number_is_plain_and_equal_to_the_books(history: History, prices: dict[InstrumentId, Decimal]) -> None:
    marks = {name: Mark(price.quantize(Decimal("1e-8")), NOW + timedelta(days=9)) for name, price in prices.items()}
    book = play(history).book
    documents = encode(book, marks)
    valuation = value(book, marks)
    for document in (documents.state, documents.positions, documents.weights):
        for text in _numbers_as_written(document).values():
            assert NUMBER.fullmatch(text.encode()), text
    state = json.loads(documents.state, parse_float=Decimal)
    assert state["positions"] == json.loads(documents.positions, parse_float=Decimal)
    assert state["weights"] == json.loads(documents.weights, parse_float=Decimal)
    assert Decimal(state["total_value"]) == valuation.total_value
    for held in state["positions"][:-1]:
        position = book.positions[InstrumentId(held["instrument_id"])]
        assert Decimal(held["quantity"]) == position.quantity
        assert Decimal(held["cost_basis"]) == position.cost_basis
    known = [Decimal(weight) for weight in state["weights"].values() if weight is not None]
    assert not known or abs(sum(known, Decimal(-1))) <= Decimal("0.000001") * len(known)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2025, 6, 21, 10, tzinfo=UTC), "2025-06-21T10:00:00.000000Z"),
        (datetime(2025, 6, 21, 10, 0, 0, 7, tzinfo=UTC), "2025-06-21T10:00:00.000007Z"),
        (datetime(1900, 1, 1, tzinfo=UTC), "1900-01-01T00:00:00.000000Z"),
    ],
)
def test_times_have_microseconds_and_a_z(time: datetime, text: str) -> None:
    assert moment(time) == text


def test_every_time_of_a_document_is_written_alike() -> None:
    document = encode(book_of(deposit("5"), buy("1", "2")), {X: Mark(Decimal(3), minutes(1))}).state.decode()
    times = re.findall(r'"(?:mark_time|last_updated)":"([^"]*)"', document)
    assert len(times) == 5
    assert all(map(TIME.fullmatch, times))


def test_weights_are_null_where_there_is_no_value() -> None:
    document = json.loads(encode(book_of(buy("1", "2")), {}).state)
    assert document["weights"] == {"X": None, "USD": None}
    assert [position["weight"] for position in document["positions"]] == [None, None]


def test_an_event_leaves_cash_out_and_has_a_derived_id() -> None:
    book = book_of(deposit("5"), buy("0.00000002", "2"), sell("1", "3"))
    raw = Rendering(book, {}).event(NOW)
    event = json.loads(raw)
    assert event["event_id"] == str(derived_id(book.portfolio_id, book.version))
    assert event["timestamp"] == "2025-06-21T10:00:00.000000Z"
    assert [item["instrument_id"] for item in event["portfolio_state_updated"]["positions"]] == ["X"]
    assert raw == Rendering(book, {}).event(NOW)


@given(histories(steps_max=8), st.dictionaries(st.sampled_from(INSTRUMENTS), PRICES, max_size=3))
def test_a_rendering_from_the_parts_of_another_is_as_one_from_nothing(
    history: History, prices: dict[InstrumentId, Decimal]
) -> None:
    """Whatever came between the two, and whichever way the marks have moved."""
    moved = {name: Mark(price.quantize(Decimal("1e-8")), NOW + timedelta(days=9)) for name, price in prices.items()}
    before: Rendering | None = None
    for book in play(history).books:
        for marks in ({}, moved):
            rendering = Rendering(book, marks, before)
            valuation = value(book, marks)
            state = state_document(book, valuation)
            assert rendering.valuation == valuation
            assert rendering.encoded().state == to_json(state)
            assert rendering.encoded().positions == to_json(state.positions)
            assert rendering.encoded().weights == to_json(state.weights)
            assert rendering.event(NOW) == to_json(event_document(book, valuation, NOW))
            before = rendering


def test_the_documents_in_a_state_are_found_again() -> None:
    documents = encode(book_of(deposit("5"), buy("1", "2"), buy("2", "2")), {X: Mark(Decimal(3), minutes(1))})
    assert Encoded.of_state(documents.version, documents.revaluation, documents.state) == documents


def test_names_that_json_must_escape_come_back() -> None:
    scribe = Scribe()
    name = 'A "B" \\ <c> é 😀'
    scribe.rows(replace(opened(1), portfolio_name=name))
    assert json.loads(encode(scribe.books[portfolio(1)], {}).state)["portfolio_name"] == name


def test_documents_are_encoded_once_for_each_book_and_valuation() -> None:
    scribe = Scribe()
    scribe.rows(opened(1, cash="10"))
    scribe.rows(updated(1, buy("1", "2")))
    books = Books(scribe.books, {})
    first = books.documents(portfolio(1))
    assert books.documents(portfolio(1)) is first
    books.mark({X: Mark(Decimal(3), minutes(1))})
    assert books.documents(portfolio(1)) is first
    assert list(books.revalue()) == [portfolio(1)]
    second = books.documents(portfolio(1))
    assert (second.version, second.revaluation > 0) == (first.version, True)
    assert second.etag != first.etag
    scribe.rows(updated(1))
    books.replace(scribe.books[portfolio(1)])
    assert books.documents(portfolio(1)).version == 4


def test_what_was_foreseen_is_shown_only_once_it_is_committed_and_at_the_marks_of_then() -> None:
    scribe = Scribe()
    scribe.rows(opened(1, cash="10"))
    scribe.rows(updated(1, buy("1", "2")))
    books = Books(scribe.books, {})
    before = books.documents(portfolio(1))
    scribe.rows(updated(1, buy("1", "2")))
    committed = scribe.books[portfolio(1)]
    books.foresee([committed])
    assert books.documents(portfolio(1)) is before
    books.mark({X: Mark(Decimal(3), minutes(1))})
    books.replace(committed)
    assert books.documents(portfolio(1)) == encode(committed, books.marks)
    assert books.valuation(committed) == value(committed, books.marks)
    books.foresee([replace(committed, version=9)])
    assert books.documents_of(committed).version == committed.version


def test_parts_are_kept_of_those_that_change_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.books.PARTS_MAX", 2)
    scribe = Scribe()
    for number in (1, 2, 3):
        scribe.rows(opened(number, cash="10"))
        scribe.rows(updated(number, buy("1", "2")))
    books = Books(scribe.books, {})
    for number in (1, 2, 3):
        books.documents(portfolio(number))
    assert not books._renderings
    for number in (1, 2, 1, 3):
        books.event(scribe.books[portfolio(number)], NOW)
    assert list(books._renderings) == [portfolio(2), portfolio(3)]
    books.drop([portfolio(2), portfolio(3)])
    assert (books._renderings, books._parts) == ({}, 0)


def test_an_older_mark_and_an_unknown_instrument_change_nothing() -> None:
    scribe = Scribe()
    scribe.rows(opened(1))
    scribe.rows(updated(1, buy("1", "2")))
    books = Books(scribe.books, {X: Mark(Decimal(3), minutes(5))})
    first = books.documents(portfolio(1))
    books.mark({X: Mark(Decimal(9), minutes(4)), InstrumentId("Z"): Mark(Decimal(1), minutes(1))})
    assert list(books.revalue()) == []
    assert books.documents(portfolio(1)) is first
    assert list(books.revalue()) == []


def test_a_position_that_closed_is_no_longer_revalued() -> None:
    scribe = Scribe()
    scribe.rows(opened(1))
    scribe.rows(updated(1, buy("1", "2")))
    books = Books(scribe.books, {})
    scribe.rows(updated(1, sell("1", "2")))
    books.replace(scribe.books[portfolio(1)])
    books.mark({X: Mark(Decimal(3), minutes(1))})
    assert list(books.revalue()) == []


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(PortfolioNotFound):
        Books({}, {}).documents(portfolio(1))
