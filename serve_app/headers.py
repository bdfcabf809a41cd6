"""Conditional requests and idempotency keys, as the headers say them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from portfolio import ids
from portfolio.errors import InvalidRequest
from portfolio.ids import IdempotencyKey

_EXPECTED: Final = re.compile(r'"(\d{1,18})(?:\.\d{1,40})?"', re.ASCII)
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')

IF_MATCH_LENGTH_MAX: Final = 200
IF_NONE_MATCH_LENGTH_MAX: Final = 1_000
_LENGTHS: Final = {
    b"idempotency-key": (1, ids.IDEMPOTENCY_KEY_LENGTH_MAX),
    b"if-match": (0, IF_MATCH_LENGTH_MAX),
    b"if-none-match": (0, IF_NONE_MATCH_LENGTH_MAX),
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """Those headers of a request that are about conditions and keys."""

    idempotency_key: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None


_NONE: Final = Conditions()


def conditions_of(headers: Iterable[tuple[bytes, bytes]]) -> Conditions | None:
    """The conditions among raw headers, of a repeated one the first; None if one is not of a length that it may have."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _LENGTHS:
            found.setdefault(name, value)
    if not found:
        return _NONE
    for name, value in found.items():
        least, most = _LENGTHS[name]
        if not least <= len(value) <= most:
            return None
    return Conditions(*(None if name not in found else found[name].decode("latin-1") for name in _LENGTHS))


def key_of(header: str | None) -> IdempotencyKey | None:
    """The Idempotency-Key of a request. Raises InvalidRequest."""
    return None if header is None else ids.idempotency_key(header)


def expected_version(if_match: str | None) -> int | None:
    """The version that If-Match asks for; None where any will do. Raises InvalidRequest.

    `"7"` and `"7.1750000000000000"`, an ETag as it was given, both ask for version 7.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _EXPECTED.fullmatch(if_match.strip())
    if found is None:
        raise InvalidRequest(f'If-Match is {if_match[:80]!r}, expected one ETag such as "7"', field="If-Match")
    return int(found[1])


def known_tags(if_none_match: str | None) -> tuple[str, ...]:
    """The entity tags that a caller has, quotes included; ("*",) for any."""
    if if_none_match is None:
        return ()
    if if_none_match.strip() == "*":
        return ("*",)
    return tuple(_TAG.findall(if_none_match))
