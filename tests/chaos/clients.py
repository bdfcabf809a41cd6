"""Clients that update portfolios over REST, retry under the same key until they know, and remember what they were told."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import httpx
import msgspec

from tests.chaos.history import Answer, Asked, Wanted

INSTRUMENTS: Final = tuple(f"STOCK-{number:02}" for number in range(24))
RETRY_PAUSE_S: Final = (0.02, 0.05, 0.1, 0.25, 0.5)
THINK_S: Final = 0.02
TIMEOUT_S: Final = 8.0
HASTE_S: Final = 0.004
"""A client in haste hangs up before most answers can be there, and asks again."""

_HASTY, _FORGETFUL, _BATCHED, _IMPOSSIBLE, _READ = 0.04, 0.02, 0.08, 0.02, 0.25
"""How often a client is in haste, never asks again, sends many at once, asks for what cannot be, reads after writing."""

_JSON: Final = msgspec.json.Decoder(float_hook=Decimal)
_PROBLEM: Final = "application/problem+json"


@dataclass(slots=True)
class Told:
    """Everything that the clients of one run were told."""

    asked: dict[str, Asked] = field(default_factory=dict)
    acknowledged_at: list[tuple[float, str]] = field(default_factory=list)
    """Moments of the monotonic clock and the portfolios concerned."""
    marks: dict[str, tuple[Decimal, datetime]] = field(default_factory=dict)
    """The newest acknowledged market mark of each instrument."""
    counts: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    """Answers that break the contract by themselves: a stale read, an error that should not be."""


@dataclass(frozen=True, slots=True)
class Update:
    """One update on its way, under the key that all its attempts share."""

    key: str
    portfolio_id: str
    transactions: tuple[Wanted, ...]

    def body(self) -> dict[str, Any]:
        """As REST takes it; numbers as text, so that they are exact."""
        return {
            "updates": [
                {
                    "instrument_id": wanted.instrument_id,
                    "quantity_change": str(wanted.quantity),
                    "price": str(wanted.price),
                    "transaction_type": wanted.transaction_type,
                }
                for wanted in self.transactions
            ]
        }


class ChaosClient:
    """One client: an update at a time, until it is told to stop; then it finishes what it has begun."""

    def __init__(self, number: int, base_url: str, portfolios: Sequence[str], seed: int, told: Told) -> None:
        self._name = f"client-{number}"
        self._base_url = f"{base_url}/api/v1"
        self._portfolios = portfolios
        self._chance = random.Random(f"{seed}:{number}")
        self._told = told
        self._count = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Update until `stopping`."""
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
            while not stopping.is_set():
                if self._chance.random() < _BATCHED:
                    await self._settle_many(http, [self._update() for _ in range(self._chance.randint(2, 12))])
                else:
                    await self._settle(http, self._update())
                await asyncio.sleep(self._chance.uniform(0, 2 * THINK_S))

    def _update(self) -> Update:
        self._count += 1
        if self._chance.random() < _IMPOSSIBLE:
            # Nobody shorts this one, so that there never is anything to cover; the update before it must go too.
            wanted = [self._trade(), Wanted("COVER", "NEVER-SHORT", Decimal(1), Decimal(1))]
        else:
            wanted = [self._trade() for _ in range(self._chance.choice((1, 1, 1, 2, 5)))]
        return Update(f"{self._name}-{self._count:06}", self._chance.choice(self._portfolios), tuple(wanted))

    def _trade(self) -> Wanted:
        kind = self._chance.choice(("BUY", "SELL"))
        quantity = Decimal(self._chance.randint(1, 10**6)).scaleb(-4)
        price = Decimal(self._chance.randint(1, 10**7)).scaleb(-4)
        return Wanted(kind, self._chance.choice(INSTRUMENTS), quantity if kind == "BUY" else -quantity, price)

    async def _settle(self, http: httpx.AsyncClient, update: Update) -> None:
        attempt = 0
        self._told.counts["attempted"] += 1
        is_forgetful = self._chance.random() < _FORGETFUL
        while (settled := await self._attempt(http, update)) is None:
            self._told.counts["retries"] += 1
            if is_forgetful:
                self._remember(update, Answer.UNKNOWN)
                return
            await asyncio.sleep(RETRY_PAUSE_S[min(attempt, len(RETRY_PAUSE_S) - 1)])
            attempt += 1
        self._told.counts["settled after a retry"] += attempt > 0
        if settled.status_code == 200 and self._chance.random() < _READ:
            await self._read_back(http, update)

    async def _attempt(self, http: httpx.AsyncClient, update: Update) -> httpx.Response | None:
        """The answer that settles the update; None if this attempt did not."""
        timeout_s = HASTE_S if self._chance.random() < _HASTY else TIMEOUT_S
        try:
            async with asyncio.timeout(timeout_s):
                answer = await http.post(
                    f"{self._base_url}/portfolio/{update.portfolio_id}/update",
                    json=update.body(),
                    headers={"Idempotency-Key": update.key},
                )
        except (httpx.TransportError, TimeoutError):
            return None
        if answer.status_code == 200:
            replayed = answer.headers.get("Idempotent-Replayed") == "true"
            self._acknowledged(update, int(_JSON.decode(answer.content)["version"]), replayed)
            return answer
        return answer if self._is_refusal(update, answer.status_code, _problem(answer)) else None

    async def _settle_many(self, http: httpx.AsyncClient, updates: Sequence[Update]) -> None:
        self._told.counts["attempted"] += len(updates)
        left = {update.key: update for update in updates}
        while left:
            await self._attempt_many(http, left)
            self._told.counts["retries"] += len(left)
            await asyncio.sleep(RETRY_PAUSE_S[2] if left else 0)

    async def _attempt_many(self, http: httpx.AsyncClient, left: dict[str, Update]) -> None:
        """One request with all that is left; what is settled by it leaves."""
        sent = list(left.values())
        keyed = [
            {**update.body(), "portfolio_id": update.portfolio_id, "idempotency_key": update.key} for update in sent
        ]
        try:
            answer = await http.post(f"{self._base_url}/updates", json={"updates": keyed})
        except httpx.TransportError:
            return
        if answer.status_code != 200:
            self._is_refusal(sent[0], answer.status_code, _problem(answer))
            return
        for update, result in zip(sent, _JSON.decode(answer.content)["results"], strict=True):
            if result["status"] == 200:
                self._acknowledged(update, int(result["version"]), bool(result.get("replayed")))
                del left[update.key]
            elif self._is_refusal(update, result["status"], result["problem"]):
                del left[update.key]

    async def _read_back(self, http: httpx.AsyncClient, update: Update) -> None:
        """Read what was acknowledged; an answer may come late, and may never be older."""
        acknowledged = self._told.asked[update.key].version or 0
        try:
            answer = await http.get(f"{self._base_url}/portfolio/{update.portfolio_id}/state")
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            self._told.counts["reads"] += 1
            if (version := int(_JSON.decode(answer.content)["version"])) < acknowledged:
                self._surprise(f"{update.portfolio_id} read at version {version} after {acknowledged}: {update.key}")
        elif answer.status_code == 404 and _problem(answer):
            self._surprise(f"{update.portfolio_id} was not found after {update.key}")

    def _is_refusal(self, update: Update, status: int, problem: dict[str, Any] | None) -> bool:
        """Whether the answer is the service's own last word. A proxy that has nobody to ask answers without a problem."""
        code = problem["code"] if problem else "no problem document"
        self._told.counts[f"answers {status} {code}"] += 1
        if problem is None or status in (429, 503):
            return False
        if code != "insufficient-position":
            self._surprise(f"{update.key} was answered {status} {problem}")
            if status >= 500:
                return False
        self._remember(update, Answer.REFUSED)
        return True

    def _acknowledged(self, update: Update, version: int, replayed: bool) -> None:
        self._told.counts["replayed answers"] += replayed
        self._told.acknowledged_at.append((time.monotonic(), update.portfolio_id))
        self._remember(update, Answer.ACKNOWLEDGED, version, replayed)

    def _remember(self, update: Update, answer: Answer, version: int | None = None, replayed: bool = False) -> None:
        self._told.asked[update.key] = Asked(
            key=update.key,
            portfolio_id=update.portfolio_id,
            transactions=update.transactions,
            answer=answer,
            version=version,
            replayed=replayed,
        )

    def _surprise(self, what: str) -> None:
        self._told.surprises.append(what)


async def post_marks(base_url: str, seed: int, told: Told, stopping: asyncio.Event) -> None:
    """Mark instruments to market until `stopping`, remembering the newest mark of each that was acknowledged."""
    chance = random.Random(f"{seed}:marks")
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        while not stopping.is_set():
            as_of = datetime.now(UTC)
            prices = {name: Decimal(chance.randint(1, 10**7)).scaleb(-4) for name in chance.sample(INSTRUMENTS, 4)}
            marks = [
                {"instrument_id": name, "price": str(price), "as_of": as_of.isoformat(timespec="microseconds")}
                for name, price in prices.items()
            ]
            try:
                answer = await http.post(f"{base_url}/api/v1/marks", json={"marks": marks})
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                told.counts["acknowledged marks"] += len(marks)
                told.marks |= {name: (price, as_of) for name, price in prices.items()}
            await asyncio.sleep(chance.uniform(0.1, 0.5))


async def open_portfolios(base_url: str, portfolios: Sequence[str], told: Told) -> None:
    """Open them, without cash and without keys: then nothing is booked under a key that no client used.

    The service has said that it serves; an answer that says otherwise is asked again, and counted.
    """
    async with httpx.AsyncClient(base_url=f"{base_url}/api/v1", timeout=TIMEOUT_S) as http:
        for portfolio_id in portfolios:
            # An opening whose answer was lost may have been booked: then it exists.
            while (answer := await http.post("/portfolios", json={"portfolio_id": portfolio_id})).status_code not in (
                201,
                409,
            ):
                problem = _problem(answer)
                what = problem["code"] if problem else f"no problem document: {answer.text[:60]!r}"
                told.counts[f"answers {answer.status_code} after the start, {what}"] += 1
                await asyncio.sleep(RETRY_PAUSE_S[2])


def _problem(answer: httpx.Response) -> dict[str, Any] | None:
    if not answer.headers.get("content-type", "").startswith(_PROBLEM):
        return None
    problem: dict[str, Any] = _JSON.decode(answer.content)
    return problem
