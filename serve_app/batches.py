"""Routes that concern many portfolios at once: updates and marks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from actors.documents import to_json
from actors.protocol import UpdateOutcome
from portfolio import money
from portfolio.book import Mark
from portfolio.errors import InvalidRequest, PortfolioError
from portfolio.ids import InstrumentId
from serve_app import examples
from serve_app.backend import backend_of
from serve_app.bodies import json_body, read
from serve_app.problems import documented, problem, status_of
from serve_app.schemas import MarkBatch, MarkReport, MarkUpdate, UpdateBatch
from serve_app.wire import UpdateResult, UpdateResults

router = APIRouter(prefix="/api/v1")

MARK_SINCE: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""A revaluation is a sum of microseconds since then, which has to grow with every mark."""
MARK_AHEAD_MAX: Final = timedelta(minutes=1)
"""A mark from the future would shut out every later one; a minute allows for clocks that differ."""
_ERRORS: Final = ("invalid-request", "body-too-large", "overloaded", "shard-unavailable")


@router.post(
    "/updates",
    response_model=UpdateResults,
    responses={
        200: {"content": {"application/json": {"example": examples.RESULTS}}},
        **documented(*_ERRORS),
    },
    openapi_extra=json_body(UpdateBatch, examples.BATCH),
)
async def update_many(request: Request) -> Response:
    """Book updates of any portfolios; each is a unit of its own and has a result of its own."""
    batch = await read(request, UpdateBatch)
    commands = [_at(index, update.keyed_command) for index, update in enumerate(batch.updates)]
    outcomes = await backend_of(request).gateway.update_many(commands)
    return Response(to_json({"results": [_members(outcome) for outcome in outcomes]}), media_type="application/json")


def _at(index: int, make: Any) -> Any:
    try:
        return make()
    except PortfolioError as error:
        error.cause["update"] = index
        raise


def _members(outcome: UpdateOutcome) -> dict[str, Any]:
    if outcome.fault is None:
        booked = {"portfolio_id": outcome.portfolio_id, "status": HTTPStatus.OK.value, "version": outcome.version}
        return {**booked, "replayed": True} if outcome.replayed else booked
    error = outcome.fault.error()
    return {"portfolio_id": outcome.portfolio_id, "status": status_of(error).value, "problem": problem(error)}


def result_of(outcome: UpdateOutcome) -> UpdateResult:
    """A shard's outcome as REST and clients tell it."""
    return UpdateResult.model_validate(_members(outcome))


@router.post(
    "/marks",
    response_model=MarkReport,
    responses=documented(*_ERRORS),
    openapi_extra=json_body(MarkBatch, examples.MARKS),
)
async def update_marks(request: Request) -> Response:
    """Set market prices; the newest `as_of` of an instrument counts. Durable when answered, seen within 100 ms."""
    batch = await read(request, MarkBatch)
    counts = await backend_of(request).gateway.update_marks(newest_marks(batch.marks))
    stale = len(batch.marks) - counts.accepted
    return Response(to_json({"accepted": counts.accepted, "stale": stale}), media_type="application/json")


def newest_marks(updates: Sequence[MarkUpdate]) -> dict[InstrumentId, Mark]:
    """The newest mark of each instrument; one without a time is of now. Raises InvalidRequest, with the index."""
    now = datetime.now(UTC)
    newest: dict[InstrumentId, Mark] = {}
    for index, update in enumerate(updates):
        try:
            mark = _mark(update, now)
        except PortfolioError as error:
            raise error.at(index) from None
        known = newest.get(InstrumentId(update.instrument_id))
        if known is None or mark.time >= known.time:
            newest[InstrumentId(update.instrument_id)] = mark
    return newest


def _mark(update: MarkUpdate, now: datetime) -> Mark:
    price = money.exact(update.price, field="price", scale=money.PRICE_SCALE)
    if price < 0:
        raise InvalidRequest(f"price is {money.shown(price)}, expected 0 or above", field="price")
    if update.as_of is not None and not MARK_SINCE <= update.as_of <= now + MARK_AHEAD_MAX:
        raise InvalidRequest(
            f"as_of is {update.as_of.isoformat()}, expected one from {MARK_SINCE:%Y} to now", field="as_of"
        )
    return Mark(price, update.as_of or now)
