"""Request bodies: bounded, and read as JSON with every number exact."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ValidationError

from portfolio.errors import BodyTooLarge, InvalidRequest
from serve_app.problems import form_error

BODY_BYTES_MAX: Final = 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)

# Numbers with a point or an exponent never pass through a float.
_JSON: Final = msgspec.json.Decoder(float_hook=Decimal)


async def read(request: Request, model: type[Model]) -> Model:
    """The body of `request` as a `model`. Raises BodyTooLarge or InvalidRequest, naming what does not fit."""
    body = await _bytes(request)
    try:
        content = _JSON.decode(body)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON that can be read: {error}", field="body") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise form_error(error.errors()) from error


async def _bytes(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > BODY_BYTES_MAX:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise _too_large()
    return bytes(body)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {BODY_BYTES_MAX:,} bytes", limit=BODY_BYTES_MAX)


def json_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI for a body that `read` takes as `model`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}
