"""Columns as Postgres array literals: one text parameter for each, several times cheaper than adapting every value."""

from __future__ import annotations

from collections.abc import Iterable


def plain_array(values: Iterable[object]) -> str:
    """An array of values whose text needs no quotes (numbers, booleans, hex, times); None is NULL.

    [1, None, 2.50] gives {1,NULL,2.50}.
    """
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def text_array(values: Iterable[str | None]) -> str:
    """An array of any text, quoted; None is NULL."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
