"""All the clients of a run: for each shard its own, so that one that hangs hides no other, and some that go to all."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import httpx

from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of
from tests.chaos.clients import INSTRUMENTS, RETRY_PAUSE_S, TIMEOUT_S, ChaosClient, Habits, read_state
from tests.chaos.told import Told, problem_of

DRAIN_TIMEOUT_S: Final = 90.0
OPENINGS_AT_ONCE: Final = 8

SINGLE: Final = Habits(think_s=0.1, patience_s=1.5)
"""It asks again soon, so that what is measured is how long the service is away, and not how long its clients wait."""
BATCHING: Final = Habits(think_s=0.22, batched=1.0, batch_size=(20, 50), impossible=0.01)
MIXED: Final = Habits(think_s=0.2, batched=0.4, batch_size=(4, 40), conditional=0.2)
READ_EVERY_S: Final = 0.08


@dataclass(frozen=True, slots=True)
class Target:
    """The service under load."""

    base_url: str
    portfolios: Sequence[str]
    shard_count: int

    def by_shard(self) -> dict[ShardId, list[str]]:
        """The portfolios of each shard."""
        found: dict[ShardId, list[str]] = defaultdict(list)
        for name in self.portfolios:
            found[shard_of(PortfolioId(name), self.shard_count)].append(name)
        assert len(found) == self.shard_count, "a shard without a portfolio would not be watched"
        return found


@asynccontextmanager
async def load(target: Target, seed: int, told: Told) -> AsyncIterator[None]:
    """Clients for as long as the block lasts; at its end they finish what they have begun.

    Raises TimeoutError if they cannot.
    """
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(client.run(stopping)) for client in _clients(target, seed, told)]
    for shard_id, portfolios in target.by_shard().items():
        chance = random.Random(f"{seed}:reader-{shard_id}")
        tasks.append(asyncio.create_task(_read(target.base_url, portfolios, chance, told, stopping)))
    tasks.append(asyncio.create_task(post_marks(target.base_url, seed, told, stopping)))
    try:
        yield
        stopping.set()
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _clients(target: Target, seed: int, told: Told) -> list[ChaosClient]:
    def client(name: str, portfolios: Sequence[str], habits: Habits) -> ChaosClient:
        return ChaosClient(name, target.base_url, portfolios=portfolios, seed=seed, told=told, habits=habits)

    clients = [client(f"mixed-{number}", target.portfolios, MIXED) for number in range(2)]
    for shard_id, portfolios in target.by_shard().items():
        clients += [client(f"single-{shard_id}", portfolios, SINGLE), client(f"batch-{shard_id}", portfolios, BATCHING)]
    return clients


async def _read(
    base_url: str, portfolios: Sequence[str], chance: random.Random, told: Told, stopping: asyncio.Event
) -> None:
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        while not stopping.is_set():
            await read_state(http, f"{base_url}/api/v1", chance.choice(portfolios), told)
            await asyncio.sleep(chance.uniform(0, 2 * READ_EVERY_S))


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
    turns = asyncio.Semaphore(OPENINGS_AT_ONCE)
    async with httpx.AsyncClient(base_url=f"{base_url}/api/v1", timeout=TIMEOUT_S) as http:

        async def opened(portfolio_id: str) -> None:
            async with turns:
                await _open(http, portfolio_id, told)

        await asyncio.gather(*map(opened, portfolios))


async def _open(http: httpx.AsyncClient, portfolio_id: str, told: Told) -> None:
    # An opening whose answer was lost may have been booked: then it exists.
    while (answer := await http.post("/portfolios", json={"portfolio_id": portfolio_id})).status_code not in (201, 409):
        problem = problem_of(answer)
        what = problem["code"] if problem else f"no problem document: {answer.text[:60]!r}"
        told.counts[f"answers {answer.status_code} after the start, {what}"] += 1
        await asyncio.sleep(RETRY_PAUSE_S[2])
