"""Each error of the contract, as a caller meets it: status, problem+json members, and nothing booked."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.e2e.rest import PROBLEM_JSON, Rest, assert_problem, buy, exact, new_id, new_instrument, trade


@pytest.fixture
def portfolio_id(rest: Rest) -> str:
    return rest.opened(cash_balance="1000.00")


@pytest.fixture
def unchanged(rest: Rest, portfolio_id: str) -> Iterator[None]:
    """Whatever the test does, the portfolio is afterwards as it was."""
    before, listed = rest.state(portfolio_id).content, rest.get(f"/portfolio/{portfolio_id}/transactions").content
    yield
    assert rest.state(portfolio_id).content == before
    assert rest.get(f"/portfolio/{portfolio_id}/transactions").content == listed


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/portfolio/{id}/state", None),
        ("GET", "/portfolio/{id}/state?as_of_version=1", None),
        ("GET", "/portfolio/{id}/state?as_of=2025-06-21T10:00:00Z", None),
        ("GET", "/portfolio/{id}/positions", None),
        ("GET", "/portfolio/{id}/transactions", None),
        ("POST", "/portfolio/{id}/update", {"updates": [buy("A")]}),
        ("POST", "/portfolio/{id}/status", {"status": "SUSPENDED"}),
    ],
)
def test_a_portfolio_that_is_not_there_is_not_found(rest: Rest, method: str, path: str, body: object) -> None:
    unknown = new_id("NOBODY")
    answer = rest.http.request(method, f"/api/v1{path.format(id=unknown)}", json=body)
    assert_problem(answer, 404, "portfolio-not-found", portfolio_id=unknown)


@pytest.mark.usefixtures("unchanged")
def test_a_portfolio_is_opened_once(rest: Rest, portfolio_id: str) -> None:
    assert_problem(rest.open(portfolio_id), 409, "portfolio-exists", portfolio_id=portfolio_id)
    assert_problem(rest.open(portfolio_id, key="k"), 409, "portfolio-exists", portfolio_id=portfolio_id)


def test_a_suspended_portfolio_takes_no_transactions(rest: Rest, portfolio_id: str) -> None:
    rest.change_status(portfolio_id, "SUSPENDED")
    before = rest.state(portfolio_id).content
    problem = assert_problem(rest.update(portfolio_id, buy("A")), 409, "status-forbids", index=0)
    assert "SUSPENDED" in problem["detail"]
    assert_problem(rest.update(portfolio_id, trade("DEPOSIT", "USD", 1, 1)), 409, "status-forbids")
    assert rest.state(portfolio_id).content == before


def test_a_liquidating_portfolio_takes_only_what_brings_it_closer_to_zero(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    rest.update(portfolio_id, buy(name, 10, 10))
    rest.change_status(portfolio_id, "LIQUIDATING")
    assert_problem(rest.update(portfolio_id, buy(name, 1, 10)), 409, "status-forbids", index=0)
    assert_problem(rest.update(portfolio_id, trade("SELL", name, -11, 10)), 409, "status-forbids", index=0)
    sold = rest.update(portfolio_id, trade("SELL", name, -10, 10), trade("WITHDRAWAL", "USD", "-1000.00", 1))
    assert sold.status_code == 200, sold.text
    assert rest.change_status(portfolio_id, "CLOSED").json()["status"] == "CLOSED"
    assert_problem(rest.update(portfolio_id, trade("DEPOSIT", "USD", 1, 1)), 409, "status-forbids")
    assert_problem(rest.change_status(portfolio_id, "ACTIVE"), 409, "illegal-status-change")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("status", ["CLOSED", "ACTIVE"])
def test_a_status_change_that_life_does_not_know_is_refused(rest: Rest, portfolio_id: str, status: str) -> None:
    problem = assert_problem(rest.change_status(portfolio_id, status), 409, "illegal-status-change")
    assert problem["status"] == 409


def test_a_portfolio_with_cash_does_not_close(rest: Rest, portfolio_id: str) -> None:
    rest.change_status(portfolio_id, "LIQUIDATING")
    problem = assert_problem(rest.change_status(portfolio_id, "CLOSED"), 409, "illegal-status-change")
    assert "1000.00" in problem["detail"]


@pytest.mark.usefixtures("unchanged")
def test_a_version_that_has_passed_is_a_mismatch(rest: Rest, portfolio_id: str) -> None:
    for answer in (
        rest.update(portfolio_id, buy("A"), if_match='"1"'),
        rest.change_status(portfolio_id, "SUSPENDED", if_match='"1.0"'),
        rest.update(portfolio_id, buy("A"), if_match='"999999999999999999"'),
    ):
        assert_problem(answer, 412, "version-mismatch", version=2)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("size", [1_048_577, 5_000_000, 40_000_000])
def test_a_body_beyond_a_mebibyte_is_too_large(rest: Rest, portfolio_id: str, size: int) -> None:
    for path in (f"/portfolio/{portfolio_id}/update", "/updates", "/marks", "/portfolios"):
        assert_problem(rest.post_raw(path, b" " * size), 413, "body-too-large", limit=1_048_576)


@pytest.mark.usefixtures("unchanged")
def test_a_body_in_chunks_beyond_a_mebibyte_is_too_large(rest: Rest, portfolio_id: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3_000):
            yield b" " * 1_024

    answer = rest.http.post(f"/api/v1/portfolio/{portfolio_id}/update", content=chunks())
    assert_problem(answer, 413, "body-too-large")


def test_a_body_of_a_mebibyte_is_taken(rest: Rest, portfolio_id: str) -> None:
    body = httpx.Request("POST", "http://x", json={"updates": [buy(new_instrument())]}).content
    answer = rest.post_raw(f"/portfolio/{portfolio_id}/update", body + b" " * (1_048_576 - len(body)))
    assert answer.status_code == 200, answer.text


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (buy("A", -1), "quantity_change"),
        (buy("A", 0), "quantity_change"),
        (buy("A", 1, 0), "price"),
        (buy("A", 1, -1), "price"),
        (buy("A", "0.000000001"), "quantity_change"),
        (buy("A", 1, "0.000000001"), "price"),
        (buy("A", "1e12"), "quantity_change"),
        (buy("A", "999999999999", "999999999999"), "price"),
        (buy("A", fee=-1), "fee"),
        (buy("A", fee="0.001"), "fee"),
        (buy("A", ratio="2:1"), "ratio"),
        (buy("USD"), "instrument_id"),
        (trade("SELL", "A", 1, 1), "quantity_change"),
        (trade("SHORT", "A", 1, 1), "quantity_change"),
        (trade("COVER", "A", -1, 1), "quantity_change"),
        (trade("DEPOSIT", "USD", -1, 1), "quantity_change"),
        (trade("DEPOSIT", "USD", "0.001", 1), "quantity_change"),
        (trade("DEPOSIT", "EUR", 1, 1), "instrument_id"),
        (trade("DEPOSIT", "USD", 1, 2), "price"),
        (trade("DEPOSIT", "USD", 1, 1, fee=1), "fee"),
        (trade("WITHDRAWAL", "USD", 1, 1), "quantity_change"),
        (trade("INTEREST", "USD", 0, 1), "quantity_change"),
        (trade("DIVIDEND", "A", 1, 1), "quantity_change"),
        (trade("DIVIDEND", "A", 0, 0), "price"),
        (trade("SPLIT", "A", 0, 0), "ratio"),
        (trade("SPLIT", "A", 1, 0, ratio="2:1"), "quantity_change"),
        (trade("SPLIT", "A", 0, 0, ratio="0:1"), "ratio"),
        (trade("TRANSFER_OUT", "A", -1, 1), "price"),
        (buy("A", transaction_id="not-a-uuid"), "transaction_id"),
    ],
)
def test_a_transaction_that_contradicts_its_type_is_invalid(
    rest: Rest, portfolio_id: str, asked: dict[str, Any], field: str
) -> None:
    good = buy("A", 1, 1)
    problem = assert_problem(rest.update(portfolio_id, good, asked), 422, "invalid-request", index=1)
    assert problem["field"].endswith(field)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"updates": []}, "updates"),
        ({"updates": [buy("A")] * 1_001}, "updates"),
        ({"updates": "x"}, "updates"),
        ({}, "updates"),
        ({"updates": [buy("A")], "more": 1}, "more"),
        ({"updates": [{**buy("A"), "more": 1}]}, "updates.0.more"),
        ({"updates": [buy("A"), buy("A" * 21)]}, "updates.1.instrument_id"),
        ({"updates": [buy("A"), trade("GIVE", "A", 1, 1)]}, "updates.1.transaction_type"),
        ({"updates": [buy("A")], "portfolio_id": "ANOTHER"}, "portfolio_id"),
        ({"updates": [buy("A")], "timestamp": "2025-06-21T10:00:00"}, "timestamp"),
        ({"updates": [buy("A")], "timestamp": "1899-12-31T23:59:59Z"}, "timestamp"),
        ({"updates": [buy("A")], "timestamp": "2999-01-01T00:00:00Z"}, "timestamp"),
        ({"updates": [buy("A")], "timestamp": 1750500000}, "timestamp"),
    ],
)
def test_an_update_of_the_wrong_form_is_invalid(
    rest: Rest, portfolio_id: str, changed: dict[str, Any], field: str
) -> None:
    answer = rest.post(f"/portfolio/{portfolio_id}/update", changed)
    assert assert_problem(answer, 422, "invalid-request")["field"] == field


@pytest.mark.parametrize(
    ("opening", "field"),
    [
        ({}, "portfolio_id"),
        ({"portfolio_id": "a b"}, "portfolio_id"),
        ({"portfolio_id": "a" * 101}, "portfolio_id"),
        ({"portfolio_id": "x", "portfolio_name": ""}, "portfolio_name"),
        ({"portfolio_id": "x", "portfolio_name": "n" * 201}, "portfolio_name"),
        ({"portfolio_id": "x", "portfolio_name": "a\x00b"}, "portfolio_name"),
        ({"portfolio_id": "x", "portfolio_name": "a\nb"}, "portfolio_name"),
        ({"portfolio_id": "x", "base_currency": "usd"}, "base_currency"),
        ({"portfolio_id": "x", "cash_balance": -1}, "cash_balance"),
        ({"portfolio_id": "x", "cash_balance": "0.001"}, "cash_balance"),
        ({"portfolio_id": "x", "cash_balance": "1e12"}, "cash_balance"),
        ({"portfolio_id": "x", "cash_balance": None}, "cash_balance"),
        ({"portfolio_id": "x", "min_cash": "0.001"}, "min_cash"),
        ({"portfolio_id": "x", "allow_short": "yes"}, "allow_short"),
        ({"portfolio_id": "x", "colour": "red"}, "colour"),
    ],
)
def test_an_opening_of_the_wrong_form_is_invalid(rest: Rest, opening: dict[str, Any], field: str) -> None:
    assert assert_problem(rest.post("/portfolios", opening), 422, "invalid-request")["field"] == field
    assert_problem(rest.state("x"), 404, "portfolio-not-found")


@pytest.mark.parametrize(
    "path",
    [
        *("/portfolios?limit=0", "/portfolios?limit=1001", "/portfolios?limit=x", "/portfolios?limit=1.5"),
        *("/portfolios?status=OPEN", "/portfolios?cursor=!", "/portfolios?cursor=", f"/portfolios?cursor={'A' * 201}"),
        *("/portfolio/{id}/state?as_of_version=0", "/portfolio/{id}/state?as_of_version=-1"),
        *("/portfolio/{id}/state?as_of_version=99", "/portfolio/{id}/state?as_of_version=9223372036854775808"),
        *("/portfolio/{id}/state?as_of=2025-06-21", "/portfolio/{id}/state?as_of=yesterday"),
        "/portfolio/{id}/state?as_of=9999-12-31T23:59:59-23:59",
        "/portfolio/{id}/state?as_of_version=1&as_of=2025-06-21T10:00:00Z",
        *("/portfolio/{id}/transactions?limit=0", "/portfolio/{id}/transactions?cursor=Zm9v"),
        *("/portfolio/%FF/state", "/portfolio/a%00/state", "/portfolio/a%0A/positions", "/portfolio/%20/transactions"),
        f"/portfolio/{'a' * 101}/state",
        f"/portfolio/{'a' * 8_000}/state",
    ],
)
def test_a_question_of_the_wrong_form_is_invalid(rest: Rest, portfolio_id: str, path: str) -> None:
    answer = rest.http.get(f"/api/v1{path.replace('{id}', portfolio_id)}")
    assert "field" in assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize("as_of", ["0001-01-01T00:00:00Z", "1969-07-20T20:17:40Z"])
def test_a_moment_before_a_portfolio_began_knows_no_portfolio(rest: Rest, portfolio_id: str, as_of: str) -> None:
    assert_problem(rest.state(portfolio_id, as_of=as_of), 404, "portfolio-not-found")


def test_more_than_is_held_is_insufficient(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance=1000, allow_short=False), new_instrument()
    rest.update(portfolio_id, buy(name, 5, 10))
    before = rest.state(portfolio_id).content
    asked = trade("TRANSFER_OUT", name, "-5.00000001", 0)
    problem = assert_problem(rest.update(portfolio_id, asked), 422, "insufficient-position", index=0)
    assert (problem["instrument_id"], problem["held"]) == (name, Decimal(5))
    for asked in (trade("COVER", name, 1, 1), trade("SELL", name, -6, 1), trade("DIVIDEND", new_instrument(), 0, 1)):
        assert_problem(rest.update(portfolio_id, asked), 422, "insufficient-position", index=0)
    assert rest.state(portfolio_id).content == before


def test_a_short_that_is_not_allowed_is_refused(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance=1000, allow_short=False), new_instrument()
    before = rest.state(portfolio_id).content
    for asked in (trade("SHORT", name, -1, 1), trade("TRANSFER_IN", name, -1, 1)):
        answer = rest.update(portfolio_id, trade("DEPOSIT", "USD", 1, 1), asked)
        assert_problem(answer, 422, "short-not-allowed", index=1, instrument_id=name)
    assert rest.state(portfolio_id).content == before


def test_cash_does_not_fall_below_its_minimum(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance="100.00", min_cash="10.00"), new_instrument()
    problem = assert_problem(rest.update(portfolio_id, buy(name, 1, "90.01")), 422, "min-cash-breached")
    assert (problem["limit"], problem["cash_balance"]) == (Decimal("10.00"), Decimal("100.00"))
    assert exact(rest.state(portfolio_id))["version"] == 2
    assert rest.update(portfolio_id, buy(name, 1, "90.00")).status_code == 200


def test_a_key_used_for_another_request_is_refused(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    assert rest.update(portfolio_id, buy(name), key="k-1").status_code == 200
    before = rest.state(portfolio_id).content
    for answer in (
        rest.update(portfolio_id, buy(name, 11), key="k-1"),
        rest.update(portfolio_id, buy(name), timestamp="2025-06-21T10:00:00Z", key="k-1"),
        rest.change_status(portfolio_id, "SUSPENDED", key="k-1"),
    ):
        assert_problem(answer, 422, "idempotency-key-reused", idempotency_key="k-1", portfolio_id=portfolio_id)
    assert rest.state(portfolio_id).content == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("key", [b"k" * 256, b"", b"a\tb", "\u2603".encode()])
def test_a_key_that_cannot_be_kept_is_invalid(rest: Rest, portfolio_id: str, key: bytes) -> None:
    answer = rest.http.post(
        f"/api/v1/portfolio/{portfolio_id}/update", json={"updates": [buy("A")]}, headers={b"Idempotency-Key": key}
    )
    assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize("path", ["/nothing", "/api/v1", "/api/v1/portfolio/a%2Fb/state", "/api/v1/portfolios/", "/"])
def test_a_path_that_is_not_there_is_a_problem_too(rest: Rest, path: str) -> None:
    answer = rest.http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.json()["type"] == "about:blank"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/portfolio/a/state", "GET"), ("PUT", "/portfolio/a/update", "POST"), ("GET", "/updates", "POST")],
)
def test_a_method_that_is_not_there_is_a_problem_too(rest: Rest, method: str, path: str, allowed: str) -> None:
    answer = rest.http.request(method, f"/api/v1{path}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.headers["content-type"] == PROBLEM_JSON


def test_all_transactions_are_booked_or_none(rest: Rest, portfolio_id: str) -> None:
    before = rest.state(portfolio_id).content
    many = [buy(new_instrument(), 1, 1) for _ in range(999)]
    answer = rest.update(portfolio_id, *many, trade("COVER", new_instrument(), 1, 1))
    assert_problem(answer, 422, "insufficient-position", index=999)
    assert rest.state(portfolio_id).content == before
    assert len(exact(rest.get(f"/portfolio/{portfolio_id}/transactions"))["items"]) == 1
