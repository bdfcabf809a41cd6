"""Routes of one portfolio's analytics, and of its optimisation."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from analytics.document import PortfolioAnalytics
from analytics.optimise.answer import OptimiseAnswer
from analytics.optimise.request import OptimiseRequest
from portfolio.ids import PortfolioId
from serve_app.analytics_examples import ANALYTICS, OPTIMISE, OPTIMISED
from serve_app.answering import answered, unless_known
from serve_app.backend import backend_of
from serve_app.bodies import json_body, read
from serve_app.headers import known_tags
from serve_app.portfolios import BASE_PATH, STATE_TAG, NoneMatchHeader, PortfolioPath
from serve_app.problems import documented
from serve_app.schemas import AnalysisQuery

router = APIRouter(prefix=BASE_PATH)

_ERRORS: Final = (
    "portfolio-not-found",
    "invalid-request",
    "overloaded",
    "shard-unavailable",
    "analytics-unavailable",
    "portfolio-quarantined",
)
_ETAG: Final[dict[str, Any]] = {
    "ETag": {
        "description": '`"<version>.<revaluation>.<generation of the prices>.<terms>"`',
        "schema": {"type": "string"},
    },
}


@router.get(
    "/portfolio/{id}/analytics",
    response_model=PortfolioAnalytics,
    responses={
        200: {"headers": _ETAG, "content": {"application/json": {"example": ANALYTICS}}},
        304: {"description": "The caller has this.", "headers": _ETAG},
        **documented(*_ERRORS),
    },
)
async def read_analytics(
    request: Request,
    portfolio_id: PortfolioPath,
    wanted: Annotated[AnalysisQuery, Query()],
    if_none_match: NoneMatchHeader = None,
) -> Response:
    """Performance, risk of today's holdings and stress, of the state now. What cannot be computed is null, with the reason."""
    analyst = backend_of(request).analyst
    tags = known_tags(if_none_match)
    answer = await analyst.analytics(PortfolioId(portfolio_id), wanted.terms(analyst.usual_terms), tags)
    return unless_known(answer, tags)


@router.post(
    "/portfolio/{id}/optimize",
    response_model=OptimiseAnswer,
    responses={
        200: {"headers": STATE_TAG, "content": {"application/json": {"example": OPTIMISED}}},
        **documented(*_ERRORS, "status-forbids", "body-too-large"),
    },
    openapi_extra=json_body(OptimiseRequest, OPTIMISE),
)
async def optimize(request: Request, portfolio_id: PortfolioPath) -> Response:
    """The best weights within limits, and the trades that lead there, ready to be posted as an update. Nothing is booked.

    Limits that exclude each other are no error: `status` is `infeasible`, and `solver.conflict` names them.
    """
    wanted = await read(request, OptimiseRequest)
    return answered(await backend_of(request).analyst.optimise(PortfolioId(portfolio_id), wanted), 200)
