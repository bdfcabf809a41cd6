"""Columns as Postgres array literals: one text parameter for each, several times cheaper than adapting every value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast


def plain_array(values: Iterable[object]) -> str:
    """An array of values whose text needs no quotes (numbers, booleans, hex, times); None is NULL.

    [1, None, 2.50] gives {1,NULL,2.50}.
    """
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def text_array(values: Iterable[str | None]) -> str:
    """An array of any text, quoted; None is NULL."""
    texts = tuple(values)
    if None in texts:
        return "{" + ",".join(["NULL" if text is None else _quoted(text) for text in texts]) + "}"
    # Nearly always there is nothing to escape, and one look at the whole tells.
    joined = '","'.join(cast(tuple[str, ...], texts))
    if "\\" not in joined and joined.count('"') == 2 * len(texts) - 2:
        return '{"' + joined + '"}'
    return "{" + ",".join([_quoted(text or "") for text in texts]) + "}"


def bytes_text(value: bytes) -> str:
    r"""Bytes as Postgres reads them outside an array: b"AB" gives \x4142."""
    return "\\x" + value.hex()


def bytes_array(values: Sequence[bytes]) -> str:
    """An array of bytes."""
    return "{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
