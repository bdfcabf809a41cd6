"""Opaque cursors of paged lists."""

from __future__ import annotations

import base64
import binascii

from portfolio.errors import InvalidRequest

CURSOR_LENGTH_MAX = 200


def cursor_of(place: str) -> str:
    """The cursor that stands for `place`."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor: str) -> str:
    """The place that `cursor` stands for. Raises InvalidRequest for one that we never gave."""
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _unknown(cursor) from error
    if not place or not place.isprintable() or cursor_of(place) != cursor:
        raise _unknown(cursor)
    return place


def _unknown(cursor: str) -> InvalidRequest:
    return InvalidRequest(f"cursor is {cursor[:40]!r}, expected one that a page gave", field="cursor")
