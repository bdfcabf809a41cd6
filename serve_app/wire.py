"""Answers that exist on REST alone: pages, and transactions as they are listed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel

from actors.documents import Number
from serve_app.problems import Problem

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next_cursor` leads to the next, and is null on the last."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionDocument:
    """A transaction as it was booked. `transaction_date` is when it took effect."""

    transaction_id: str
    version: int
    instrument_id: str
    transaction_type: str
    quantity: Number
    price: Number
    transaction_value: Number
    fee: Number
    transaction_date: datetime
    recorded_at: datetime
    idempotency_key: str | None


class UpdateResult(BaseModel):
    """What became of one update of a batch: the version it led to, or a problem. `status` is as of HTTP."""

    portfolio_id: str
    status: int
    version: int | None = None
    replayed: bool = False
    problem: Problem | None = None


class UpdateResults(BaseModel):
    """One result an update, in the order asked."""

    results: list[UpdateResult]


class Readiness(BaseModel):
    """Whether everything that serves is there; `failing` names what is not.

    `quarantined` says of portfolios that are set apart what is wrong with them, of a hundred for each shard at most.
    They do not make the service unready, because all others are served.
    """

    status: str
    failing: dict[str, str]
    quarantined: dict[str, str]


class Versions(BaseModel):
    """What runs here."""

    service: str
    contract: str
    ray: str
    python: str
