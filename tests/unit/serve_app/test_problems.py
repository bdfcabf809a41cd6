"""One table maps our errors to HTTP, and every answer that tells of one has the same members."""

import json
from decimal import Decimal
from http import HTTPStatus

import pytest
from pydantic import BaseModel, ValidationError

from portfolio.errors import BY_CODE, InvalidRequest, MinCashBreached, PortfolioError, StatusForbids
from serve_app.problems import PROBLEM_JSON, documented, form_error, problem, problem_response, status_of
from serve_app.schemas import PortfolioUpdate, UpdateBatch

CONTRACT = {
    "portfolio-not-found": 404,
    "portfolio-exists": 409,
    "status-forbids": 409,
    "illegal-status-change": 409,
    "version-mismatch": 412,
    "body-too-large": 413,
    "invalid-request": 422,
    "insufficient-position": 422,
    "min-cash-breached": 422,
    "short-not-allowed": 422,
    "idempotency-key-reused": 422,
    "query-refused": 422,
    "query-failed": 422,
    "query-timeout": 422,
    "query-too-large": 422,
    "overloaded": 429,
    "shard-unavailable": 503,
    "wrong-shard": 503,
    "analytics-unavailable": 503,
    "outcome-unknown": 503,
    "portfolio-quarantined": 503,
}
RETRY_AFTER = {
    **dict.fromkeys(
        ("overloaded", "shard-unavailable", "analytics-unavailable", "outcome-unknown", "wrong-shard"), "1"
    ),
    "portfolio-quarantined": "60",
}
INTERNAL = {"corrupt", "deposed"}
"""Faults of ours, which no caller can do anything about."""


def test_every_error_has_a_status_or_is_internal() -> None:
    assert set(BY_CODE) == CONTRACT.keys() | INTERNAL


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_an_error_has_the_status_of_the_contract(code: str) -> None:
    assert status_of(BY_CODE[code]("what")).value == CONTRACT.get(code, 500)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_problem_has_every_member(code: str) -> None:
    found = problem(BY_CODE[code]("the detail", held=Decimal("1.00000000")))
    assert found == {
        "held": Decimal("1.00000000"),
        "type": f"/problems/{code}",
        "title": found["title"],
        "status": CONTRACT.get(code, 500),
        "detail": "the detail",
        "code": code,
    }
    assert found["title"].startswith(code[0].upper())


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_an_answer_says_when_to_come_again_only_where_that_helps(code: str) -> None:
    answer = problem_response(BY_CODE[code]("what"))
    assert answer.media_type == PROBLEM_JSON
    assert answer.headers.get("retry-after") == RETRY_AFTER.get(code)


def test_a_cause_does_not_replace_a_member() -> None:
    found = problem(StatusForbids("the portfolio is SUSPENDED", status="SUSPENDED", code="x", type="y"))
    assert (found["status"], found["code"], found["type"]) == (409, "status-forbids", "/problems/status-forbids")


def test_amounts_are_written_exactly() -> None:
    answer = problem_response(MinCashBreached("what", limit=Decimal("0.10"), cash_balance=Decimal("123456789012.12")))
    assert b'"limit":0.10' in answer.body
    assert b'"cash_balance":123456789012.12' in answer.body


def _refused(model: type[BaseModel], content: object) -> InvalidRequest:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(content)
    return form_error(refused.value.errors())


def _transaction(**changed: object) -> dict[str, object]:
    return {"transaction_type": "BUY", "instrument_id": "A", "quantity_change": 1, "price": 1, **changed}


def test_a_form_error_names_the_field_and_the_transaction() -> None:
    error = _refused(PortfolioUpdate, {"updates": [_transaction(), _transaction(price="x")]})
    assert (error.cause["field"], error.cause["index"]) == ("updates.1.price", 1)
    assert "update" not in error.cause


def test_a_form_error_in_a_batch_names_the_update_and_the_transaction() -> None:
    good = {"portfolio_id": "P", "updates": [_transaction()]}
    error = _refused(UpdateBatch, {"updates": [good, {**good, "updates": [_transaction(), _transaction(fee=None)]}]})
    assert (error.cause["field"], error.cause["update"], error.cause["index"]) == ("updates.1.updates.1.fee", 1, 1)


def test_a_form_error_of_the_whole_body_names_the_body() -> None:
    assert _refused(PortfolioUpdate, []).cause["field"] == "body"


def test_form_errors_are_listed_up_to_a_bound_and_named_in_bounded_length() -> None:
    error = _refused(PortfolioUpdate, {**{f"{'k' * 10_000}{number}": 1 for number in range(50)}, "updates": [{}]})
    told = json.loads(bytes(problem_response(error).body))
    assert len(told["errors"]) == 20
    assert len(problem_response(error).body) < 10_000


def test_what_is_documented_is_what_is_sent() -> None:
    answers = documented("overloaded", "insufficient-position", "invalid-request", "outcome-unknown")
    assert set(answers) == {429, 422, 503}
    assert list(answers[422]["content"]) == [PROBLEM_JSON]
    examples = answers[422]["content"][PROBLEM_JSON]["examples"]
    assert set(examples) == {"insufficient-position", "invalid-request"}
    assert examples["invalid-request"]["value"]["status"] == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "Retry-After" in answers[429]["headers"]
    assert "Retry-After" not in answers[422]["headers"]


def test_an_error_crosses_a_process_boundary_by_its_code() -> None:
    assert all(kind.code == code and issubclass(kind, PortfolioError) for code, kind in BY_CODE.items())
