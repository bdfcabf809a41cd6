"""Routes that do nothing, on the Serve profile of the service's own: the floors of what is read over REST.

One is what a team would write, a route of FastAPI. The service answers hot requests before FastAPI sees them, and so may be
faster than that; what is below it then, Serve alone, the bare one tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, Response
from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.garbage import look_rarely
from serve_app.app import LOGGING

ROUTED: Final = "noop"
BARE: Final = "bare-noop"
"""Names of the applications, and where their routes begin."""


def deploy(size: int) -> None:
    """Serve both beside what is served already; each answers `size` bytes of JSON. Returns once they are there."""
    body = b'{"noop":"' + b"x" * max(0, size - 11) + b'"}'
    _deploy(ROUTED, lambda: routed(body))
    _deploy(BARE, lambda: bare(body))


def routed(body: bytes) -> FastAPI:
    """A FastAPI application with one route."""
    app = FastAPI()

    @app.get("/")
    async def noop() -> Response:
        return Response(body, media_type="application/json")

    return app


def bare(body: bytes) -> ASGIApp:
    """A plain ASGI application: like the service's own it has no `routes`, which Serve would match each request with."""
    response = Response(body, media_type="application/json")

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await response(scope, receive, send)

    return answer


async def _live(receive: Receive, send: Send) -> None:
    """What the protocol asks of an application that has nothing to start and nothing to end."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def _deploy(name: str, build: Callable[[], ASGIApp]) -> None:
    def built() -> ASGIApp:
        # What the service's own replica does for itself, the floor does too.
        look_rarely()
        return build()

    class Noop:
        """The ingress deployment; everything is in the ASGI application."""

    deployment = serve.deployment(
        name=name,
        max_ongoing_requests=2_000,
        ray_actor_options={"num_cpus": 0},
        logging_config=LOGGING,
    )
    serve.run(deployment(serve.ingress(built)(Noop)).bind(), name=name, route_prefix=f"/{name}")
