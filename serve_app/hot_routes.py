"""The short way to the routes that nearly all traffic takes: state, positions and single updates.

For one of these requests, FastAPI spends more of a replica's time on finding the route and reading its parameters than
Serve, the link and the shard spend together. So a request in the plain form, without a query and with headers of the right
length, is taken here before FastAPI sees it. Anything else goes on to FastAPI, which has the same routes: it documents
them, and refuses what does not fit. Nothing is refused here for its form, so there is one set of rules.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.gateway import Gateway
from portfolio import ids
from portfolio.errors import PortfolioError
from portfolio.ids import PortfolioId
from serve_app.admission import Admission
from serve_app.answering import read_now, update
from serve_app.backend import Backend
from serve_app.headers import Conditions, conditions_of
from serve_app.portfolios import BASE_PATH
from serve_app.problems import problem_response, unexpected_response

_PATH: Final = re.compile(rf"{re.escape(BASE_PATH)}/portfolio/({ids.PORTFOLIO_ID_PATTERN[1:-1]})/(\w+)", re.ASCII)

Handler = Callable[[Gateway, Request, PortfolioId, Conditions], Awaitable[Response]]


def _state(gateway: Gateway, _: Request, portfolio_id: PortfolioId, conditions: Conditions) -> Awaitable[Response]:
    return read_now(gateway.state, portfolio_id, conditions.if_none_match)


def _positions(gateway: Gateway, _: Request, portfolio_id: PortfolioId, conditions: Conditions) -> Awaitable[Response]:
    return read_now(gateway.positions, portfolio_id, conditions.if_none_match)


def _update(gateway: Gateway, request: Request, portfolio_id: PortfolioId, found: Conditions) -> Awaitable[Response]:
    return update(gateway, request, portfolio_id, found.idempotency_key, found.if_match)


HANDLERS: Final[Mapping[tuple[str, str], Handler]] = {
    ("GET", "state"): _state,
    ("GET", "positions"): _positions,
    ("POST", "update"): _update,
}


def with_hot_routes(api: FastAPI) -> ASGIApp:
    """`api` with the short way in front of it, and one bound on the requests under way on both."""
    return Admission(HotRoutes(api))


class HotRoutes:
    """ASGI middleware that answers hot requests in the plain form, and leaves the others to `api`."""

    def __init__(self, api: FastAPI) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _find(scope)
        if found is None:
            await self._api(scope, receive, send)
            return
        handler, portfolio_id, conditions = found
        backend: Backend = self._api.state.backend
        try:
            response = await handler(backend.gateway, Request(scope, receive), portfolio_id, conditions)
        except PortfolioError as error:
            response = problem_response(error)
        except Exception as error:
            await unexpected_response(error)(scope, receive, send)
            # Serve logs it, as it does for what FastAPI lets through.
            raise
        await response(scope, receive, send)


def _find(scope: Scope) -> tuple[Handler, PortfolioId, Conditions] | None:
    """What to do for a hot request in the plain form; None for any other."""
    if scope["type"] != "http" or scope["query_string"] or scope.get("root_path"):
        return None
    path = _PATH.fullmatch(scope["path"])
    if path is None:
        return None
    handler = HANDLERS.get((scope["method"], path[2]))
    conditions = conditions_of(scope["headers"])
    if handler is None or conditions is None:
        return None
    return handler, PortfolioId(path[1]), conditions
