"""Decimals in requests: exact, from JSON numbers or from texts."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from portfolio import money
from portfolio.errors import InvalidRequest


def _exact(value: Any) -> Decimal:
    if isinstance(value, str) and len(value) > 40:
        raise ValueError("expected a number of at most 40 characters")
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("expected a number, or a text with one")
    try:
        # A float stands for the shortest text that reads as it: 0.1 is meant, not 0.1000000000000000055.
        return money.exact(Decimal(str(value)), field="it", scale=money.QUANTITY_SCALE)
    except (ArithmeticError, InvalidRequest) as error:
        raise ValueError("expected a number below 1e12 of at most 8 decimals") from error


ExactNumber = Annotated[
    Decimal,
    BeforeValidator(_exact),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]
