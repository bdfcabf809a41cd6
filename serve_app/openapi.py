"""What the OpenAPI document says besides the routes."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve_app.problems import FieldError, Problem
from serve_app.schemas import MarkBatch, PortfolioOpening, PortfolioUpdate, StatusChange, UpdateBatch

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
    Problem,
    FieldError,
)
_REFERENCE: Final = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Let `app` describe itself, the bodies that it reads by itself included."""

    def describe() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # as FastAPI's own documentation has it


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REFERENCE)
    schemas.update(bodies["$defs"])
    return document
