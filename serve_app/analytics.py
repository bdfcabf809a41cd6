"""Routes of the analytics of one portfolio."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from analytics.document import WINDOW_DEFAULT, WINDOW_MAX, WINDOW_MIN, AnalysisTerms, PortfolioAnalytics
from portfolio import ids
from portfolio.ids import PortfolioId
from serve_app.analytics_examples import ANALYTICS
from serve_app.answering import unless_known
from serve_app.backend import backend_of
from serve_app.headers import known_tags
from serve_app.portfolios import BASE_PATH, NoneMatchHeader, PortfolioPath
from serve_app.problems import documented

router = APIRouter(prefix=BASE_PATH)

Window = Annotated[int, Query(ge=WINDOW_MIN, le=WINDOW_MAX, description="Daily returns that are looked at.")]
Benchmark = Annotated[
    str | None, Query(pattern=ids.INSTRUMENT_ID_PATTERN, description="An instrument; default: the service's.")
]
Rate = Annotated[float, Query(gt=-1, le=10, allow_inf_nan=False, description="Risk-free, a year.")]

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
    *,
    window: Window = WINDOW_DEFAULT,
    benchmark: Benchmark = None,
    risk_free_rate: Rate = 0.0,
    if_none_match: NoneMatchHeader = None,
) -> Response:
    """Performance, risk of today's holdings and stress, of the state now. A figure that cannot be computed is null, with the reason."""
    analyst = backend_of(request).analyst
    terms = AnalysisTerms(
        window=window, benchmark=benchmark or analyst.usual_terms.benchmark, risk_free_rate=risk_free_rate
    )
    answer = await analyst.analytics(PortfolioId(portfolio_id), terms, known_tags(if_none_match))
    return unless_known(answer, known_tags(if_none_match))
