"""Identifiers, and what each may look like."""

from __future__ import annotations

import re
import sys
from typing import Final, NewType
from uuid import UUID

from portfolio.errors import InvalidRequest

PortfolioId = NewType("PortfolioId", str)
InstrumentId = NewType("InstrumentId", str)
Currency = NewType("Currency", str)
IdempotencyKey = NewType("IdempotencyKey", str)
ShardId = NewType("ShardId", int)

PORTFOLIO_ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,100}$"
INSTRUMENT_ID_PATTERN: Final = r"^[A-Za-z0-9._:/^=-]{1,20}$"
CURRENCY_PATTERN: Final = r"^[A-Z]{3}$"
NAME_LENGTH_MAX: Final = 200
IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255

_PORTFOLIO_ID: Final = re.compile(PORTFOLIO_ID_PATTERN[1:-1]).fullmatch
_INSTRUMENT_ID: Final = re.compile(INSTRUMENT_ID_PATTERN[1:-1]).fullmatch
_CURRENCY: Final = re.compile(CURRENCY_PATTERN[1:-1]).fullmatch


def portfolio_id(text: str) -> PortfolioId:
    """`text` as a portfolio's id. Raises InvalidRequest."""
    if not _PORTFOLIO_ID(text):
        raise _malformed("portfolio_id", text, "1 to 100 of A-Z a-z 0-9 . _ : -")
    return PortfolioId(text)


def instrument_id(text: str) -> InstrumentId:
    """`text` as an instrument's id. Raises InvalidRequest."""
    if not _INSTRUMENT_ID(text):
        raise _malformed("instrument_id", text, "1 to 20 of A-Z a-z 0-9 . _ : / ^ = -")
    return shared(text)


def shared(text: str) -> InstrumentId:
    """An instrument's id as the one object that stands for it in every book.

    Thousands of portfolios hold the same few instruments: their positions are found without going through as many
    copies of a name, which fall out of the processor's caches.
    """
    return InstrumentId(sys.intern(text))


def currency(text: str) -> Currency:
    """`text` as a currency code. Raises InvalidRequest."""
    if not _CURRENCY(text):
        raise _malformed("base_currency", text, "three capital letters")
    return Currency(text)


def portfolio_name(text: str) -> str:
    """`text` as a portfolio's name. Raises InvalidRequest."""
    if not 1 <= len(text) <= NAME_LENGTH_MAX or not _is_printable(text):
        raise _malformed("portfolio_name", text, f"1 to {NAME_LENGTH_MAX} printable characters")
    return text


def idempotency_key(text: str) -> IdempotencyKey:
    """`text` as an idempotency key. Raises InvalidRequest."""
    if not 1 <= len(text) <= IDEMPOTENCY_KEY_LENGTH_MAX or not _is_printable(text):
        raise _malformed("idempotency_key", text, f"1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters")
    return IdempotencyKey(text)


def transaction_id(text: str) -> UUID:
    """`text` as a transaction's id. Raises InvalidRequest."""
    try:
        return UUID(text)
    except ValueError as error:
        raise _malformed("transaction_id", text, "a UUID") from error


def _is_printable(text: str) -> bool:
    # isprintable is false for lone surrogates and NUL too, which neither UTF-8 nor Postgres can hold.
    return text.isprintable()


def _malformed(field: str, text: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{field} is {text[:120]!r}, expected {expected}", field=field)
