"""Kills at random moments, under load, of a service with servers of its own: what was acknowledged is there exactly once."""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_left
from collections import Counter
from enum import StrEnum
from typing import Final

import psutil
import pytest

from portfolio.ids import PortfolioId
from portfolio.sharding import shard_of
from tests.chaos.aftermath import lost_marks, wrong_states
from tests.chaos.checker import check
from tests.chaos.clients import ChaosClient, Habits
from tests.chaos.history import Answer
from tests.chaos.journal_reading import read_truth
from tests.chaos.load import DRAIN_TIMEOUT_S, open_portfolios, post_marks
from tests.chaos.told import Told
from tests.cluster.service_process import ServiceProcess, service_process, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(900)]

CLIENTS: Final = 8
PORTFOLIOS: Final = tuple(f"CHAOS-{number:02}" for number in range(16))
SHARDS: Final = 2
RECOVERY_TIMEOUT_S: Final = 90.0


class Victim(StrEnum):
    """What is killed."""

    SHARD = "shard actor"
    POSTGRES = "Postgres"
    EVERYTHING = "everything"


ROUNDS: Final = (*[Victim.SHARD] * 10, *[Victim.POSTGRES] * 7, *[Victim.EVERYTHING] * 3)
HASTY_ROUNDS: Final = 0.35
"""Share of the rounds after which the next kill does not wait for recovery, and so may fall into it."""


async def test_every_acknowledged_update_is_there_exactly_once_whatever_is_killed(
    chaos_seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told()
    with service_process(shard_count=SHARDS) as service:
        await asyncio.to_thread(service.start)
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await open_portfolios(service.base_url, PORTFOLIOS, told)
        played = await _rounds_under_load(service, chaos_seed, told)
        truth = await asyncio.to_thread(read_truth, service.postgres_dsn)
        assert check(told.asked.values(), truth.journals, told.reads) == []
        assert told.surprises == []
        assert list(lost_marks(told, truth)) == []
        assert await wrong_states(service.base_url, truth) == []
        assert await asyncio.to_thread(service.stop) == 0
        assert await asyncio.to_thread(wait_until, lambda: not service.processes(), 10)
    # A run in which nothing happened would prove nothing.
    answers = Counter(asked.answer for asked in told.asked.values())
    with capsys.disabled():
        booked = sum(len(journal.rows) for journal in truth.journals.values())
        for counts in (Counter(played), answers, told.counts):
            print(" ", ", ".join(f"{count} {what}" for what, count in counts.items()))  # noqa: T201
        print(f"  {len(told.reads)} reads, {booked} rows in the journal")  # noqa: T201
    assert Counter(played) == Counter(ROUNDS)
    assert answers[Answer.ACKNOWLEDGED] > 400
    assert min(answers[Answer.REFUSED], told.counts["retries"], told.counts["replayed answers"], len(told.reads)) > 0


async def _rounds_under_load(service: ServiceProcess, seed: int, told: Told) -> list[Victim]:
    stopping = asyncio.Event()
    clients = [
        ChaosClient(f"client-{number}", service.base_url, portfolios=PORTFOLIOS, seed=seed, told=told, habits=Habits())
        for number in range(CLIENTS)
    ]
    tasks = [
        *(asyncio.create_task(client.run(stopping)) for client in clients),
        asyncio.create_task(post_marks(service.base_url, seed, told, stopping)),
    ]
    try:
        played = await _play(service, random.Random(seed), told)
        stopping.set()
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return played


async def _play(service: ServiceProcess, chance: random.Random, told: Told) -> list[Victim]:
    order = list(ROUNDS)
    chance.shuffle(order)
    for victim in order:
        await asyncio.sleep(chance.uniform(0.2, 2.0))
        at = await asyncio.to_thread(_kill, service, victim, chance)
        if victim is Victim.EVERYTHING:
            await asyncio.to_thread(_start_again, service, chance)
        if victim is Victim.EVERYTHING or chance.random() > HASTY_ROUNDS:
            await _until_serving(service, told, at)
    await _until_serving(service, told, time.monotonic())
    return order


def _kill(service: ServiceProcess, victim: Victim, chance: random.Random) -> float:
    """Kill -9; gives the moment."""
    if victim is Victim.EVERYTHING:
        assert service.kill_everything(chance) > 10
        # Not before: until its processes have been found, it goes on acknowledging.
        return time.monotonic()
    found: list[psutil.Process] = []

    def is_found() -> bool:
        postmaster = service.postmaster()
        found[:] = service.shards() if victim is Victim.SHARD else [postmaster] if postmaster else []
        return bool(found)

    # After a kill that nobody waited for, it may not be back yet.
    assert wait_until(is_found, RECOVERY_TIMEOUT_S), f"no {victim} came back:\n{service.logs()}"
    chance.choice(found).kill()
    return time.monotonic()


def _start_again(service: ServiceProcess, chance: random.Random) -> None:
    """Start it on what it left; sometimes it dies once more while it starts."""
    if chance.random() < 0.5:
        service.launch()
        time.sleep(chance.uniform(0.5, 8.0))
        service.kill_everything(chance)
    service.start()


async def _until_serving(service: ServiceProcess, told: Told, since: float) -> None:
    """Return once every shard has acknowledged an update that was under way after `since`."""
    deadline = time.monotonic() + RECOVERY_TIMEOUT_S
    # What was acknowledged a moment after the kill may have been committed before it.
    since += 0.1
    while True:
        recent = told.acknowledged_at[bisect_left(told.acknowledged_at, (since, "")) :]
        if len({shard_of(PortfolioId(portfolio_id), SHARDS) for _, portfolio_id in recent}) == SHARDS:
            return
        assert time.monotonic() < deadline, (
            f"not serving {RECOVERY_TIMEOUT_S:g} s after a kill:\n{told.counts}\n{told.surprises[:3]}\n{service.logs()}"
        )
        await asyncio.sleep(0.1)
