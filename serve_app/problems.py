"""Errors as application/problem+json (RFC 9457): one table from our errors to HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from actors.documents import number, to_json
from portfolio.errors import BY_CODE, InvalidRequest, PortfolioError

PROBLEM_JSON: Final = "application/problem+json"
ERRORS_MAX: Final = 20
PART_LENGTH_MAX: Final = 100

_STATUSES: Final[Mapping[str, HTTPStatus]] = {
    "portfolio-not-found": HTTPStatus.NOT_FOUND,
    "portfolio-exists": HTTPStatus.CONFLICT,
    "status-forbids": HTTPStatus.CONFLICT,
    "illegal-status-change": HTTPStatus.CONFLICT,
    "version-mismatch": HTTPStatus.PRECONDITION_FAILED,
    "body-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "invalid-request": HTTPStatus.UNPROCESSABLE_ENTITY,
    "insufficient-position": HTTPStatus.UNPROCESSABLE_ENTITY,
    "min-cash-breached": HTTPStatus.UNPROCESSABLE_ENTITY,
    "short-not-allowed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "idempotency-key-reused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "query-refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "query-failed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "query-timeout": HTTPStatus.UNPROCESSABLE_ENTITY,
    "query-too-large": HTTPStatus.UNPROCESSABLE_ENTITY,
    "overloaded": HTTPStatus.TOO_MANY_REQUESTS,
    "shard-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "wrong-shard": HTTPStatus.SERVICE_UNAVAILABLE,
    "analytics-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "outcome-unknown": HTTPStatus.SERVICE_UNAVAILABLE,
    "portfolio-quarantined": HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER_S: Final = {HTTPStatus.TOO_MANY_REQUESTS: 1, HTTPStatus.SERVICE_UNAVAILABLE: 1}
_OPERATOR_S: Final = {"portfolio-quarantined": 60}
"""An operator has to act first: whoever comes again every second would do so for hours."""
_RETRY_HEADERS: Final = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}


class FieldError(BaseModel):
    """One thing that is wrong with a request's form."""

    field: str
    detail: str


class Problem(BaseModel, extra="allow"):
    """What went wrong. Besides these members, an answer has those that name the cause."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    index: int | None = None
    errors: list[FieldError] | None = None


def status_of(error: PortfolioError) -> HTTPStatus:
    """The HTTP status of one of our errors; what is not in the table is a fault of ours."""
    return _STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(error: PortfolioError) -> dict[str, Any]:
    """The members of the problem that tells of `error`."""
    cause = {name: number(found) if isinstance(found, Decimal) else found for name, found in error.cause.items()}
    return _members(error.code, status_of(error), error.detail, cause)


def _members(code: str, status: HTTPStatus, detail: str, cause: Mapping[str, Any]) -> dict[str, Any]:
    title = code.replace("-", " ").capitalize()
    # The cause comes first, so that one that is named like a member (a portfolio's status) does not replace it.
    return {
        **cause,
        "type": f"/problems/{code}",
        "title": title,
        "status": status.value,
        "detail": detail,
        "code": code,
    }


def problem_response(error: PortfolioError) -> Response:
    """The answer that tells of `error`."""
    wait_s = _OPERATOR_S.get(error.code)
    return _response(problem(error), status_of(error), None if wait_s is None else {"Retry-After": str(wait_s)})


def unexpected_response(error: Exception) -> Response:
    """The answer that tells of an error that is none of ours: its kind, and nothing that it may say of the inside."""
    members = _members("internal-error", HTTPStatus.INTERNAL_SERVER_ERROR, type(error).__name__, {})
    return _response(members, HTTPStatus.INTERNAL_SERVER_ERROR)


def _response(members: Mapping[str, Any], status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    sent = dict(headers or {})
    if status in _RETRY_AFTER_S:
        sent.setdefault("Retry-After", str(_RETRY_AFTER_S[status]))
    return Response(to_json(members), status.value, sent, PROBLEM_JSON)


def form_error(errors: Sequence[Any]) -> InvalidRequest:
    """pydantic's findings as one error: the first is named, all (up to a bound) are listed."""
    listed = [{"field": _path(found["loc"]), "detail": found["msg"]} for found in errors[:ERRORS_MAX]]
    first = errors[0]
    error = InvalidRequest(f"{_path(first['loc'])}: {first['msg']}", field=_path(first["loc"]))
    *updates, index = [None, *(part for part in first["loc"] if isinstance(part, int))]
    if index is not None:
        error.at(index)
    if len(updates) > 1:
        error.cause["update"] = updates[1]
    error.cause["errors"] = listed  # type: ignore[assignment]  # a list goes to JSON as well as a word does
    return error


def _path(location: Sequence[str | int]) -> str:
    # A field that we do not know may have a name of any length.
    return ".".join(str(part)[:PART_LENGTH_MAX] for part in location) or "body"


def install(app: FastAPI) -> None:
    """Let every error of `app` be answered as a problem."""

    async def ours(_: Request, error: Exception) -> Response:
        return problem_response(error if isinstance(error, PortfolioError) else InvalidRequest(str(error)))

    async def form(_: Request, error: Exception) -> Response:
        errors = error.errors() if isinstance(error, RequestValidationError | ValidationError) else []
        return problem_response(form_error(errors))

    async def http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        status = HTTPStatus(error.status_code)
        members = _members(status.phrase.lower().replace(" ", "-"), status, str(error.detail), {})
        return _response({**members, "type": "about:blank"}, status, error.headers)

    async def unexpected(_: Request, error: Exception) -> Response:
        return unexpected_response(error)

    app.add_exception_handler(PortfolioError, ours)
    app.add_exception_handler(RequestValidationError, form)
    app.add_exception_handler(ValidationError, form)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these error codes, an example for each."""
    answers: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = BY_CODE[code]
        example = problem(kind("What went wrong, with the values concerned."))
        answer = answers.setdefault(
            _STATUSES[code].value,
            {
                "description": "",
                "headers": _RETRY_HEADERS if _STATUSES[code] in _RETRY_AFTER_S else {},
                "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        answer["description"] = ", ".join(filter(None, [answer["description"], code]))
        answer["content"][PROBLEM_JSON]["examples"][code] = {"value": example}
    return answers
