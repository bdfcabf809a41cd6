"""Everything that the clients of one run were told, as they note it down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import httpx
import msgspec

from tests.chaos.history import Asked, Call, Content, Owner, Read, content_of

_PROBLEM: Final = "application/problem+json"
_OWNERS: Final = "Shard-Epoch"
_JSON: Final = msgspec.json.Decoder(float_hook=Decimal)


class _Position(msgspec.Struct):
    instrument_id: str
    position_type: str
    quantity: Decimal


class State(msgspec.Struct):
    """What clients look at in a portfolio's state."""

    version: int
    cash_balance: Decimal
    positions: list[_Position]

    def content(self) -> Content:
        """What it holds; cash is a position too, and left out of them here."""
        held = ((found.instrument_id, found.quantity) for found in self.positions if found.position_type != "CASH")
        return content_of(self.cash_balance, held)


_STATES: Final = msgspec.json.Decoder(State)


@dataclass(slots=True)
class Told:
    """The notes of all clients together."""

    asked: dict[str, Asked] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    acknowledged_at: list[tuple[float, str]] = field(default_factory=list)
    """Moments of the monotonic clock and the portfolios concerned, in order."""
    versions: dict[str, int] = field(default_factory=dict)
    """The newest version that anybody was told of, to make updates conditional on."""
    marks: dict[str, tuple[Decimal, datetime]] = field(default_factory=dict)
    """The newest acknowledged market mark of each instrument."""
    counts: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    """Answers that break the contract by themselves, such as an error that should not be."""

    def called(self, what: str, sent: float, answer: httpx.Response | None) -> None:
        """Note a request and its answer, None if there was none."""
        problem = problem_of(answer) if answer is not None else None
        code = str(problem["code"]) if problem else ""
        status = answer.status_code if answer is not None else 0
        self.calls.append(Call(what, sent, time.monotonic(), status, code))

    def remember(self, asked: Asked) -> None:
        """Note what became of an update."""
        self.asked[asked.key] = asked

    def saw(self, portfolio_id: str, version: int) -> None:
        """Note a version that was told."""
        self.versions[portfolio_id] = max(version, self.versions.get(portfolio_id, 0))

    def surprise(self, what: str) -> None:
        """Note an answer that should not be."""
        self.surprises.append(what)


def owners_of(answer: httpx.Response) -> tuple[Owner, ...]:
    """Who answered, `<shard>/<epoch>` of each; nobody where the header is missing."""
    named = answer.headers.get(_OWNERS, "")
    pairs: Sequence[Sequence[str]] = [one.strip().split("/") for one in named.split(",") if one.strip()]
    return tuple(Owner(int(shard), int(epoch)) for shard, epoch in pairs)


def state_of(answer: httpx.Response) -> State:
    """The state that an answer shows."""
    return _STATES.decode(answer.content)


def problem_of(answer: httpx.Response) -> Mapping[str, Any] | None:
    """The problem that an answer tells of; None if it has no such document, as those of a proxy do not."""
    if not answer.headers.get("content-type", "").startswith(_PROBLEM):
        return None
    problem: dict[str, Any] = _JSON.decode(answer.content)
    return problem


def results_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The results of a batch, in the order asked."""
    results: list[dict[str, Any]] = _JSON.decode(answer.content)["results"]
    return results
