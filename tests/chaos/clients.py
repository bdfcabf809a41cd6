"""Clients that update portfolios over REST, retry under the same key until they know, and note what they were told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import httpx

from tests.chaos.history import Answer, Asked, Content, Owner, Read, Wanted
from tests.chaos.told import Told, owners_of, problem_of, results_of, state_of

INSTRUMENTS: Final = tuple(f"STOCK-{number:02}" for number in range(24))
RETRY_PAUSE_S: Final = (0.02, 0.05, 0.1, 0.25, 0.5)
TIMEOUT_S: Final = 8.0
HASTE_S: Final = 0.004
"""A client in haste hangs up before most answers can be there, and asks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a client does, and how often: shares of its updates, and a pause after each that is `think_s` on average."""

    think_s: float = 0.02
    batched: float = 0.08
    batch_size: tuple[int, int] = (2, 12)
    hasty: float = 0.04
    forgetful: float = 0.02
    """It never asks again, and so never knows."""
    impossible: float = 0.02
    """It asks for what cannot be booked."""
    conditional: float = 0.05
    """It says which version it builds on."""
    reads_back: float = 0.25
    patience_s: float = TIMEOUT_S
    """How long it waits for an answer."""


@dataclass(slots=True)
class Update:
    """One update on its way, under the key that all its attempts share. `sent` is when the first of them left."""

    key: str
    portfolio_id: str
    transactions: tuple[Wanted, ...]
    expected_version: int | None = None
    sent: float = 0.0

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

    def leaves(self) -> float:
        """The moment at which an attempt leaves: now."""
        now = time.monotonic()
        self.sent = self.sent or now
        return now


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says about one update that was acknowledged."""

    version: int
    replayed: bool
    last_sent: float
    owners: tuple[Owner, ...]
    content: Content | None = None


class ChaosClient:
    """One client: an update at a time, until it is told to stop; then it finishes what it has begun."""

    def __init__(
        self, name: str, base_url: str, *, portfolios: Sequence[str], seed: int, told: Told, habits: Habits
    ) -> None:
        self._name = name
        self._base_url = f"{base_url}/api/v1"
        self._portfolios = portfolios
        self._chance = random.Random(f"{seed}:{name}")
        self._told = told
        self._habits = habits
        self._count = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Update until `stopping`."""
        async with httpx.AsyncClient(timeout=self._habits.patience_s) as http:
            while not stopping.is_set():
                if self._happens(self._habits.batched):
                    count = self._chance.randint(*self._habits.batch_size)
                    await self._settle_many(http, [self._update() for _ in range(count)])
                else:
                    await self._settle(http, self._update(self._habits.conditional))
                await asyncio.sleep(self._chance.uniform(0, 2 * self._habits.think_s))

    def _happens(self, share: float) -> bool:
        return self._chance.random() < share

    def _update(self, conditional: float = 0.0) -> Update:
        self._count += 1
        if self._happens(self._habits.impossible):
            # Nobody shorts this one, so that there never is anything to cover; the update before it must go too.
            wanted = [self._trade(), Wanted("COVER", "NEVER-SHORT", Decimal(1), Decimal(1))]
        else:
            wanted = [self._trade() for _ in range(self._chance.choice((1, 1, 1, 2, 5)))]
        portfolio_id = self._chance.choice(self._portfolios)
        expected = self._told.versions.get(portfolio_id) if self._happens(conditional) else None
        return Update(f"{self._name}-{self._count:06}", portfolio_id, tuple(wanted), expected)

    def _trade(self) -> Wanted:
        kind = self._chance.choice(("BUY", "SELL"))
        quantity = Decimal(self._chance.randint(1, 10**6)).scaleb(-4)
        price = Decimal(self._chance.randint(1, 10**7)).scaleb(-4)
        return Wanted(kind, self._chance.choice(INSTRUMENTS), quantity if kind == "BUY" else -quantity, price)

    async def _settle(self, http: httpx.AsyncClient, update: Update) -> None:
        attempt = 0
        self._told.counts["attempted"] += 1
        is_forgetful = self._happens(self._habits.forgetful)
        while (settled := await self._attempt(http, update)) is None:
            self._told.counts["retries"] += 1
            if is_forgetful:
                self._remember(update, Answer.UNKNOWN)
                return
            await asyncio.sleep(RETRY_PAUSE_S[min(attempt, len(RETRY_PAUSE_S) - 1)])
            attempt += 1
        self._told.counts["settled after a retry"] += attempt > 0
        if settled.status_code == 200 and self._happens(self._habits.reads_back):
            await read_state(http, self._base_url, update.portfolio_id, self._told)

    async def _attempt(self, http: httpx.AsyncClient, update: Update) -> httpx.Response | None:
        """The answer that settles the update; None if this attempt did not."""
        headers = {"Idempotency-Key": update.key}
        if update.expected_version is not None:
            headers["If-Match"] = f'"{update.expected_version}"'
        url = f"{self._base_url}/portfolio/{update.portfolio_id}/update"
        sent = update.leaves()
        answer: httpx.Response | None = None
        try:
            async with asyncio.timeout(HASTE_S if self._happens(self._habits.hasty) else self._habits.patience_s):
                answer = await http.post(url, json=update.body(), headers=headers)
        except (httpx.TransportError, TimeoutError):
            return None
        finally:
            self._told.called(f"update {update.key}", sent, answer)
        if answer.status_code == 200:
            state = state_of(answer)
            replayed = answer.headers.get("Idempotent-Replayed") == "true"
            self._acknowledged(update, Reply(state.version, replayed, sent, owners_of(answer), state.content()))
            return answer
        return answer if self._is_refusal(update, answer.status_code, problem_of(answer)) else None

    async def _settle_many(self, http: httpx.AsyncClient, updates: Sequence[Update]) -> None:
        self._told.counts["attempted"] += len(updates)
        left = {update.key: update for update in updates}
        attempt = 0
        while left:
            await self._attempt_many(http, left)
            self._told.counts["retries"] += len(left)
            await asyncio.sleep(RETRY_PAUSE_S[min(attempt, len(RETRY_PAUSE_S) - 1)] if left else 0)
            attempt += 1

    async def _attempt_many(self, http: httpx.AsyncClient, left: dict[str, Update]) -> None:
        """One request with all that is left; what is settled by it leaves."""
        updates = list(left.values())
        keyed = [
            {**update.body(), "portfolio_id": update.portfolio_id, "idempotency_key": update.key} for update in updates
        ]
        sent = min(update.leaves() for update in updates)
        answer: httpx.Response | None = None
        try:
            answer = await http.post(f"{self._base_url}/updates", json={"updates": keyed})
        except httpx.TransportError:
            return
        finally:
            self._told.called(f"updates {updates[0].key} and {len(updates) - 1} more", sent, answer)
        if answer.status_code != 200:
            self._is_refusal(updates[0], answer.status_code, problem_of(answer))
            return
        owners = owners_of(answer)
        for update, result in zip(updates, results_of(answer), strict=True):
            if result["status"] == 200:
                reply = Reply(int(result["version"]), bool(result.get("replayed")), sent, owners)
                self._acknowledged(update, reply)
                del left[update.key]
            elif self._is_refusal(update, result["status"], result["problem"]):
                del left[update.key]

    def _is_refusal(self, update: Update, status: int, problem: Mapping[str, Any] | None) -> bool:
        """Whether the answer is the service's own last word. A proxy that has nobody to ask answers without a problem."""
        code = problem["code"] if problem else "no problem document"
        self._told.counts[f"answers {status} {code}"] += 1
        if problem is None or (status in (429, 503) and code != "portfolio-quarantined"):
            return False
        is_condition = code == "version-mismatch" and update.expected_version is not None
        if code != "insufficient-position" and not is_condition:
            self._told.surprise(f"{update.key} was answered {status} {problem}")
            if status >= 500:
                return False
        self._remember(update, Answer.REFUSED)
        return True

    def _acknowledged(self, update: Update, reply: Reply) -> None:
        self._told.counts["replayed answers"] += reply.replayed
        self._told.acknowledged_at.append((time.monotonic(), update.portfolio_id))
        self._told.saw(update.portfolio_id, reply.version)
        self._remember(update, Answer.ACKNOWLEDGED, reply)

    def _remember(self, update: Update, answer: Answer, reply: Reply | None = None) -> None:
        self._told.remember(
            Asked(
                key=update.key,
                portfolio_id=update.portfolio_id,
                transactions=update.transactions,
                answer=answer,
                version=reply.version if reply else None,
                replayed=reply.replayed if reply else False,
                expected_version=update.expected_version,
                sent=update.sent,
                last_sent=reply.last_sent if reply else update.sent,
                answered=time.monotonic(),
                owners=reply.owners if reply else (),
                content=reply.content if reply else None,
            )
        )


async def read_state(http: httpx.AsyncClient, base_url: str, portfolio_id: str, told: Told) -> None:
    """Read a portfolio once and note what was shown; an answer may come late, or say that it cannot."""
    sent = time.monotonic()
    answer: httpx.Response | None = None
    try:
        answer = await http.get(f"{base_url}/portfolio/{portfolio_id}/state")
    except httpx.TransportError:
        return
    finally:
        told.called(f"read {portfolio_id}", sent, answer)
    if answer.status_code == 200:
        told.counts["reads"] += 1
        state = state_of(answer)
        told.reads.append(
            Read(
                portfolio_id=portfolio_id,
                version=state.version,
                sent=sent,
                answered=time.monotonic(),
                owners=owners_of(answer),
                content=state.content(),
            )
        )
        told.saw(portfolio_id, state.version)
        return
    problem = problem_of(answer)
    told.counts[f"reads answered {answer.status_code} {problem['code'] if problem else 'no problem document'}"] += 1
    if problem is not None and answer.status_code not in (429, 503):
        told.surprise(f"{portfolio_id}, which exists, was answered {answer.status_code} {problem}")
