"""A bound on the requests under way in one replica: one more is refused at once, instead of waiting for the others."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from portfolio.errors import Overloaded
from serve_app.problems import problem_response

REQUESTS_MAX: Final = 2_000
_ALWAYS_ADMITTED: Final = frozenset({"/healthz"})
"""Whoever asks whether the process is alive must hear it most of all when it is busy."""


class Admission:
    """ASGI middleware that answers `overloaded` to what comes while `requests_max` requests are under way."""

    def __init__(self, app: ASGIApp, requests_max: int = REQUESTS_MAX) -> None:
        self._app = app
        self._requests_max = requests_max
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _ALWAYS_ADMITTED:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._requests_max:
            refused = Overloaded(f"{self._under_way:,} requests are under way", limit=self._requests_max)
            await problem_response(refused)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
