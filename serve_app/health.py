"""Routes for those who watch the service: alive, ready, which version."""

from __future__ import annotations

import platform
from importlib.metadata import version

import ray
from fastapi import APIRouter, Request, Response

from actors.documents import to_json
from actors.shard import Phase, ShardStatus
from portfolio.errors import PortfolioError
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
    """Every shard is owned and serves, and Postgres answers; else 503, naming what does not."""
    backend = backend_of(request)
    statuses = await backend.gateway.statuses()
    failing = {f"shard-{number}": reason for number, found in statuses.items() if (reason := _reason(found))}
    try:
        await backend.history.ping()
    except PortfolioError as error:
        failing["postgres"] = error.detail
    body = to_json({"status": "failing" if failing else "ready", "failing": failing})
    return Response(body, 503 if failing else 200, media_type="application/json")


def _reason(found: ShardStatus | PortfolioError) -> str | None:
    if isinstance(found, PortfolioError):
        return found.detail
    return None if found.phase is Phase.SERVING else found.reason or found.phase.value


@router.get("/version", responses=documented("overloaded"))
async def versions() -> Versions:
    """What runs here."""
    return Versions(
        service=version("portfolio-state"), contract="1", ray=ray.__version__, python=platform.python_version()
    )
