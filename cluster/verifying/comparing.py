"""Where two books, or two JSON documents, differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final

import msgspec

from persistence.audit_values import SavedBook
from portfolio import money
from portfolio.book import Book, Mark, Position

FieldDifference = tuple[str, object, object]
"""A field's name, what was expected, and what was found."""

_BOOK_FIELDS: Final = tuple(field.name for field in fields(Book) if field.name != "positions")
_POSITION_FIELDS: Final = tuple(field.name for field in fields(Position))
_ABSENT: Final = "nothing"
_JSON: Final = msgspec.json.Decoder(float_hook=Decimal)


def book_differences(expected: Book, found: Book) -> Iterator[FieldDifference]:
    """Every field in which two books differ; numbers count by value, so 1.0 is 1.00."""
    for name in _BOOK_FIELDS:
        if getattr(expected, name) != getattr(found, name):
            yield name, getattr(expected, name), getattr(found, name)
    for instrument_id in sorted(expected.positions.keys() | found.positions.keys()):
        yield from _position_differences(
            f"positions[{instrument_id}]", expected.positions.get(instrument_id), found.positions.get(instrument_id)
        )


def _position_differences(name: str, expected: Position | None, found: Position | None) -> Iterator[FieldDifference]:
    if expected is None or found is None:
        if expected is not found:
            yield name, _held(expected), _held(found)
        return
    for field in _POSITION_FIELDS:
        if getattr(expected, field) != getattr(found, field):
            yield f"{name}.{field}", _plain(getattr(expected, field)), _plain(getattr(found, field))


def _held(position: Position | None) -> str:
    return _ABSENT if position is None else f"{position.quantity} units"


def _plain(value: object) -> object:
    return f"{value.price} at {value.time.isoformat()}" if isinstance(value, Mark) else value


def value_differences(saved: SavedBook) -> Iterator[FieldDifference]:
    """Where the computed columns of a checkpoint's book do not follow from the others."""
    book = saved.book
    total = book.cash
    for valued in saved.positions:
        total = money.add(total, valued.market_value)
    if saved.total_value != total:
        yield "total_value", total, saved.total_value
    for valued in saved.positions:
        held = book.positions[valued.instrument_id]
        name = f"positions[{valued.instrument_id}]"
        market_value = money.round2(money.multiply(held.quantity, valued.mark_price))
        expected = {
            "position_type": "LONG" if held.quantity > 0 else "SHORT",
            "market_value": market_value,
            "unrealized_pnl": money.round2(money.add(valued.market_value, -held.cost_basis)),
            "weight": money.round6(money.divide(valued.market_value, total)) if total > 0 else None,
        }
        for column, value in expected.items():
            if getattr(valued, column) != value:
                yield f"{name}.{column}", value, getattr(valued, column)


def json_differences(name: str, expected: bytes, found: bytes) -> Iterator[FieldDifference]:
    """Every value in which two JSON documents differ; if none does, that their bytes differ."""
    try:
        there = _JSON.decode(found)
    except msgspec.MsgspecError:
        yield name, "JSON", found.decode(errors="replace")
        return
    differences = list(_value_differences(name, _JSON.decode(expected), there))
    yield from differences or [(f"{name} in its bytes", expected.decode(), found.decode(errors="replace"))]


def _value_differences(name: str, expected: Any, found: Any) -> Iterator[FieldDifference]:
    expected, found = _by_name(expected), _by_name(found)
    if not (isinstance(expected, dict) and isinstance(found, dict)):
        if expected != found:
            yield name, expected, found
        return
    for key in sorted(expected.keys() | found.keys()):
        if key not in expected or key not in found:
            yield f"{name}.{key}", expected.get(key, _ABSENT), found.get(key, _ABSENT)
        else:
            yield from _value_differences(f"{name}.{key}", expected[key], found[key])


def _by_name(value: Any) -> Any:
    """A list of positions as a mapping by instrument."""
    if isinstance(value, list) and all(isinstance(item, dict) and "instrument_id" in item for item in value):
        return {str(item["instrument_id"]): item for item in value}
    return value
