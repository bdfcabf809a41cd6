"""What the OpenAPI document says besides the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from analytics.optimise.request import OptimiseRequest
from serve_app.problems import FieldError, Problem
from serve_app.schemas import MarkBatch, PortfolioOpening, PortfolioUpdate, Query, StatusChange, UpdateBatch

CONTRACT_VERSION: Final = "1"
DESCRIPTION: Final = (
    "What portfolios hold and what they are worth, current to the last committed transaction. Numbers are exact JSON "
    "numbers with all their decimals; input takes numbers or texts with numbers. Times are RFC 3339 in UTC."
)
_BODIES: Final[tuple[type[BaseModel], ...]] = (
    PortfolioOpening,
    PortfolioUpdate,
    StatusChange,
    UpdateBatch,
    MarkBatch,
    OptimiseRequest,
    Query,
    Problem,
    FieldError,
)
_EXAMPLES: Final = frozenset({"example", "examples"})
_REFERENCE: Final = "#/components/schemas/{model}"


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Let `app`, which includes `routers`, describe itself, the bodies that it reads by itself included."""

    def describe() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _described(app, routers)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI's own documentation has it


def _described(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REFERENCE)
    schemas.update(bodies["$defs"])
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                _restore_examples(document["paths"][route.path], route)
    return document


def _restore_examples(operations: dict[str, Any], route: APIRoute) -> None:
    """Show a route's examples as they were given: FastAPI takes every null out of them."""
    for method in route.methods or ():
        operation = operations[method.lower()]
        for status, answer in route.responses.items():
            _restore(operation["responses"][str(status)], answer)
        if route.openapi_extra is not None:
            _restore(operation["requestBody"], route.openapi_extra["requestBody"])


def _restore(shown: dict[str, Any], given: Mapping[str, Any]) -> None:
    for media_type, content in given.get("content", {}).items():
        shown["content"][media_type].update({name: content[name] for name in _EXAMPLES & content.keys()})
