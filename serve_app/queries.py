"""SQL over everything that the cluster holds."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response

from analytics.sql.format import Format
from analytics.sql.limits import Limits
from analytics.sql.messages import Question
from serve_app import examples
from serve_app.backend import backend_of
from serve_app.bodies import json_body, read
from serve_app.problems import documented
from serve_app.schemas import Query

router = APIRouter(prefix="/api/v1/analytics")

_ACCEPT_LENGTH_MAX: Final = 1_000
_LIMITS: Final = Limits()
_BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "/query",
    responses={
        200: {
            "description": "The rows, in the format asked for",
            "content": {
                Format.JSON.media_type: {"example": examples.QUERIED},
                Format.CSV.media_type: {"schema": {"type": "string"}},
                Format.PARQUET.media_type: _BINARY,
                Format.ARROW.media_type: _BINARY,
            },
        },
        **documented(
            "invalid-request",
            "body-too-large",
            "query-refused",
            "query-failed",
            "query-timeout",
            "query-too-large",
            "overloaded",
            "shard-unavailable",
            "analytics-unavailable",
        ),
    },
    openapi_extra=json_body(Query, examples.QUERY),
)
async def query(
    request: Request, accept: Annotated[str | None, Header(max_length=_ACCEPT_LENGTH_MAX)] = None
) -> Response:
    """Run one reading statement of DuckDB's SQL over portfolios, positions, transactions, prices and history.

    The first three are current to the last committed transaction. Answered as JSON unless `format`, or the Accept
    header, names another.
    """
    asked = await read(request, Query)
    wanted = asked.format or _acceptable(accept)
    answer = await backend_of(request).queries.answer(Question(asked.sql, wanted, _LIMITS))
    return Response(answer.body, media_type=wanted.media_type)


def _acceptable(accept: str | None) -> Format:
    """The first of ours that the header names; JSON where it names none."""
    named = [part.partition(";")[0].strip().lower() for part in (accept or "").split(",")]
    by_type = {kind.media_type: kind for kind in Format}
    return next((by_type[name] for name in named if name in by_type), Format.JSON)
