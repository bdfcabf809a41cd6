"""What clients asked for and were told: the material that the checker holds against the journal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Answer(StrEnum):
    """What became of an update, as its client knows it."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One transaction that a client asked for."""

    transaction_type: str
    instrument_id: str
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One update under one idempotency key, with its last answer.

    `version` is the one that the answer named: that right after the update, or, of a `replayed` answer, the present one.
    """

    key: str
    portfolio_id: str
    transactions: tuple[Wanted, ...]
    answer: Answer
    version: int | None = None
    replayed: bool = False
