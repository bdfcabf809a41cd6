"""What clients asked for and were told, and when: the material that the checker judges.

Moments are of one monotonic clock. `sent` is taken before a request leaves, `answered` after its answer is there, so the
service acted somewhere in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


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


class Owner(NamedTuple):
    """Who answered: the shard, and the epoch of its owner."""

    shard_id: int
    epoch: int


class Content(NamedTuple):
    """What a state holds, short enough to keep a great many: its cash, and a digest of the quantity of each instrument."""

    cash: Decimal
    quantities: int


def content_of(cash: Decimal, quantities: Iterable[tuple[str, Decimal]]) -> Content:
    """The content of a state; a quantity of zero and none at all are the same. Digests hold for one process only."""
    return Content(cash, hash(frozenset((name, quantity) for name, quantity in quantities if quantity)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One update under one idempotency key, with its last answer.

    `version` is the one that the answer named: that right after the update, or, of a `replayed` answer, the present one.
    `sent` is when the first attempt left, `last_sent` when the one that was answered did. `content` is that of the state
    that the answer showed, `expected_version` what If-Match asked for.
    """

    key: str
    portfolio_id: str
    transactions: tuple[Wanted, ...]
    answer: Answer
    version: int | None = None
    replayed: bool = False
    expected_version: int | None = None
    sent: float = 0.0
    last_sent: float = 0.0
    answered: float = math.inf
    owners: tuple[Owner, ...] = ()
    content: Content | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One answer to GET state."""

    portfolio_id: str
    version: int
    sent: float
    answered: float
    owners: tuple[Owner, ...] = ()
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it went over the wire, whatever came of it; `status` is 0 where no answer came."""

    what: str
    sent: float
    answered: float
    status: int
    code: str
