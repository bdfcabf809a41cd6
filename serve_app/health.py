"""Routes for those who watch the service: alive, ready, which version."""

from __future__ import annotations

import platform
from importlib.metadata import version

import ray
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from actors.documents import to_json
from actors.shard_status import Phase, ShardStatus
from portfolio.errors import PortfolioError
from serve_app import metrics
from serve_app.backend import backend_of
from serve_app.problems import documented
from serve_app.schemas import Alive
from serve_app.wire import Readiness, Versions

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Alive:
    """The process answers; neither shard nor database is asked."""
    return Alive()


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not ready."}, **documented("overloaded")},
)
async def readyz(request: Request) -> Response:
    """Every shard is owned and serves, and Postgres answers; else 503, naming what does not.

    Portfolios in quarantine are named too. They are no reason to take the service, which serves the others, away.
    """
    backend = backend_of(request)
    statuses = await backend.gateway.statuses()
    failing = {f"shard-{number}": reason for number, found in statuses.items() if (reason := _reason(found))}
    try:
        await backend.history.ping()
    except PortfolioError as error:
        failing["postgres"] = error.detail
    quarantined = {
        portfolio_id: reason
        for found in statuses.values()
        if isinstance(found, ShardStatus)
        for portfolio_id, reason in found.quarantined.items()
    }
    body = to_json(
        {"status": "failing" if failing else "ready", "failing": failing, "quarantined": quarantined},
    )
    return Response(body, 503 if failing else 200, media_type="application/json")


def _reason(found: ShardStatus | PortfolioError) -> str | None:
    if isinstance(found, PortfolioError):
        return found.detail
    return None if found.phase is Phase.SERVING else found.reason or found.phase.value


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus text."}, **documented("overloaded")},
)
async def read_metrics(request: Request) -> Response:
    """Every shard's figures, and the portfolios in quarantine, as Prometheus reads them."""
    return Response(metrics.render(await backend_of(request).gateway.statuses()), media_type=metrics.CONTENT_TYPE)


@router.get("/version", responses=documented("overloaded"))
async def versions() -> Versions:
    """What runs here."""
    return Versions(
        service=version("portfolio-state"), contract="1", ray=ray.__version__, python=platform.python_version()
    )
