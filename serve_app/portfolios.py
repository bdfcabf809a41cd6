"""Routes of one portfolio, and the list of all."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response

from actors.documents import PositionDocument, StateDocument, SummaryDocument, moment, number, to_json
from actors.gateway import Gateway
from persistence.history import VERSION_MAX, BookedTransaction
from portfolio import ids
from portfolio.errors import InvalidRequest, PortfolioNotFound
from portfolio.ids import PortfolioId
from portfolio.status import Status
from serve_app import examples
from serve_app.answering import answered, read_now, unless_known, update
from serve_app.backend import backend_of
from serve_app.bodies import json_body, read
from serve_app.cursors import CURSOR_LENGTH_MAX, cursor_of, place_of
from serve_app.headers import (
    IF_MATCH_LENGTH_MAX,
    IF_NONE_MATCH_LENGTH_MAX,
    expected_version,
    key_of,
    known_tags,
)
from serve_app.past import past_state
from serve_app.problems import documented
from serve_app.schemas import AnyCase, Moment, PortfolioOpening, PortfolioUpdate, StatusChange
from serve_app.wire import Page, TransactionDocument

BASE_PATH: Final = "/api/v1"
router = APIRouter(prefix=BASE_PATH)

PAGE_MAX: Final = 1_000
PortfolioPath = Annotated[str, Path(alias="id", pattern=ids.PORTFOLIO_ID_PATTERN, examples=["PORTFOLIO-0001"])]
KeyHeader = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=ids.IDEMPOTENCY_KEY_LENGTH_MAX)
]
MatchHeader = Annotated[str | None, Header(alias="If-Match", max_length=IF_MATCH_LENGTH_MAX)]
NoneMatchHeader = Annotated[str | None, Header(alias="If-None-Match", max_length=IF_NONE_MATCH_LENGTH_MAX)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Query(max_length=CURSOR_LENGTH_MAX)]

_READ_ERRORS: Final = (
    "portfolio-not-found",
    "invalid-request",
    "overloaded",
    "shard-unavailable",
    "portfolio-quarantined",
)
_WRITE_ERRORS: Final = (
    *_READ_ERRORS,
    "status-forbids",
    "version-mismatch",
    "body-too-large",
    "idempotency-key-reused",
    "outcome-unknown",
)
STATE_TAG: Final[dict[str, Any]] = {
    "ETag": {"description": '`"<version>.<revaluation>"`', "schema": {"type": "string"}},
}
_WRITTEN: Final[dict[str, Any]] = {
    **STATE_TAG,
    "Idempotent-Replayed": {"description": "`true` where this was booked before", "schema": {"type": "string"}},
}
_OPENED: Final[dict[str, Any]] = {
    **_WRITTEN,
    "Location": {"description": "Where the state is", "schema": {"type": "string"}},
}
_UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "The caller has this.", "headers": STATE_TAG}
}


def _stated(status: int, headers: dict[str, Any], *codes: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": examples.STATE}}
    return {status: {"model": StateDocument, "headers": headers, "content": content}, **documented(*codes)}


@router.post(
    "/portfolios",
    status_code=201,
    responses=_stated(
        201,
        _OPENED,
        *("portfolio-exists", "invalid-request", "body-too-large", "idempotency-key-reused"),
        *("overloaded", "shard-unavailable", "outcome-unknown", "portfolio-quarantined"),
    ),
    openapi_extra=json_body(PortfolioOpening, examples.OPENING),
)
async def open_portfolio(request: Request, idempotency_key: KeyHeader = None) -> Response:
    """Open a portfolio."""
    opening = await read(request, PortfolioOpening)
    answer = await backend_of(request).gateway.write(opening.command(key_of(idempotency_key)))
    return answered(answer, 201, {"Location": f"{BASE_PATH}/portfolio/{opening.portfolio_id}/state"})


@router.get(
    "/portfolios",
    responses={
        200: {"content": {"application/json": {"example": examples.SUMMARIES}}},
        **documented("invalid-request", "overloaded", "shard-unavailable"),
    },
    response_model=Page[SummaryDocument],
)
async def list_portfolios(
    request: Request,
    limit: Limit = 100,
    cursor: Cursor = None,
    status: Annotated[Status | None, AnyCase] = None,
) -> Response:
    """Every portfolio, ordered by id. Those in quarantine are left out, as their figures are not known; /readyz names them."""
    after = place_of(cursor) if cursor is not None else ""
    # One more than asked for tells whether there is a next page.
    found = await backend_of(request).gateway.page(after, limit + 1, status)
    shown = found[:limit]
    return _page(shown, cursor_of(shown[-1].portfolio_id) if len(found) > limit else None)


@router.get("/portfolio/{id}/state", responses={**_stated(200, STATE_TAG, *_READ_ERRORS), **_UNCHANGED})
async def read_state(
    request: Request,
    portfolio_id: PortfolioPath,
    as_of_version: Annotated[int | None, Query(ge=1, le=VERSION_MAX)] = None,
    as_of: Annotated[Moment | None, Query(examples=["2025-06-21T10:00:00.000000Z"])] = None,
    if_none_match: NoneMatchHeader = None,
) -> Response:
    """The state now, never older than an acknowledged write; or of the past, valued at the newest closes and trades of then."""
    if as_of_version is not None or as_of is not None:
        return await _read_past(request, PortfolioId(portfolio_id), as_of_version, as_of, if_none_match)
    gateway = backend_of(request).gateway
    return await read_now(gateway.state, PortfolioId(portfolio_id), if_none_match)


async def _read_past(
    request: Request,
    portfolio_id: PortfolioId,
    version: int | None,
    as_of: datetime | None,
    if_none_match: str | None,
) -> Response:
    if version is not None and as_of is not None:
        raise InvalidRequest("as_of_version and as_of are both given, expected one", field="as_of")
    backend = backend_of(request)
    past = await past_state(backend.history, backend.prices, portfolio_id, version=version, as_of=as_of)
    return unless_known(past, known_tags(if_none_match))


@router.get(
    "/portfolio/{id}/positions",
    response_model=list[PositionDocument],
    responses={
        200: {"headers": STATE_TAG, "content": {"application/json": {"example": examples.STATE["positions"]}}},
        **_UNCHANGED,
        **documented(*_READ_ERRORS),
    },
)
async def read_positions(
    request: Request, portfolio_id: PortfolioPath, if_none_match: NoneMatchHeader = None
) -> Response:
    """The positions now, cash among them."""
    return await read_now(backend_of(request).gateway.positions, PortfolioId(portfolio_id), if_none_match)


@router.post(
    "/portfolio/{id}/update",
    responses=_stated(200, _WRITTEN, *_WRITE_ERRORS, "insufficient-position", "min-cash-breached", "short-not-allowed"),
    openapi_extra=json_body(PortfolioUpdate, examples.UPDATE),
)
async def update_portfolio(
    request: Request, portfolio_id: PortfolioPath, idempotency_key: KeyHeader = None, if_match: MatchHeader = None
) -> Response:
    """Book transactions, in order, all or none. Answered once they are durable."""
    gateway = backend_of(request).gateway
    return await update(gateway, request, PortfolioId(portfolio_id), idempotency_key, if_match)


@router.post(
    "/portfolio/{id}/status",
    responses=_stated(200, _WRITTEN, *_WRITE_ERRORS, "illegal-status-change"),
    openapi_extra=json_body(StatusChange, {"status": "SUSPENDED"}),
)
async def change_status(
    request: Request, portfolio_id: PortfolioPath, idempotency_key: KeyHeader = None, if_match: MatchHeader = None
) -> Response:
    """Give a portfolio another status."""
    change = await read(request, StatusChange)
    command = change.command(PortfolioId(portfolio_id), key_of(idempotency_key), expected_version(if_match))
    return answered(await backend_of(request).gateway.write(command), 200)


@router.get(
    "/portfolio/{id}/transactions",
    response_model=Page[TransactionDocument],
    responses={
        200: {"content": {"application/json": {"example": examples.TRANSACTIONS}}},
        **documented(*_READ_ERRORS),
    },
)
async def list_transactions(
    request: Request, portfolio_id: PortfolioPath, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """A portfolio's transactions, newest first."""
    before = _version(place_of(cursor)) if cursor is not None else VERSION_MAX
    backend = backend_of(request)
    # One more than asked for tells whether there is a next page.
    found = await backend.history.transactions(PortfolioId(portfolio_id), before_version=before, limit=limit + 1)
    if not found:
        await _check_exists(backend.gateway, PortfolioId(portfolio_id))
    shown = found[:limit]
    next_cursor = cursor_of(str(shown[-1].version)) if len(found) > limit else None
    return _page([_transaction(booked) for booked in shown], next_cursor)


async def _check_exists(gateway: Gateway, portfolio_id: PortfolioId) -> None:
    if await gateway.book(portfolio_id) is None:
        raise PortfolioNotFound(f"there is no portfolio {portfolio_id}", portfolio_id=portfolio_id)


def _version(place: str) -> int:
    if not place.isascii() or not place.isdigit() or not 1 <= int(place) <= VERSION_MAX:
        raise InvalidRequest("cursor: expected one that a page gave", field="cursor")
    return int(place)


def _transaction(booked: BookedTransaction) -> TransactionDocument:
    return TransactionDocument(
        transaction_id=str(booked.transaction_id),
        version=booked.version,
        instrument_id=booked.instrument_id,
        transaction_type=booked.transaction_type,
        quantity=number(booked.quantity),
        price=number(booked.price),
        transaction_value=booked.value,
        fee=booked.fee,
        transaction_date=moment(booked.effective_at),
        recorded_at=moment(booked.recorded_at),
        idempotency_key=booked.idempotency_key,
    )


def _page(items: list[Any], next_cursor: str | None) -> Response:
    return Response(to_json({"items": items, "next_cursor": next_cursor}), media_type="application/json")
