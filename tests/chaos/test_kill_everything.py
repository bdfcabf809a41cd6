"""Kills at random moments, under load: what was acknowledged is there exactly once, whatever died."""

from __future__ import annotations

import asyncio
import os
import random
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import httpx
import psutil
import pytest

from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.sharding import shard_of
from tests.chaos.breaches import Breach
from tests.chaos.checker import check
from tests.chaos.clients import ChaosClient, Told, open_portfolios, post_marks
from tests.chaos.history import Answer
from tests.chaos.journal_reading import Truth, read_truth
from tests.cluster.service_process import ServiceProcess, service_process, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

CLIENTS: Final = 8
PORTFOLIOS: Final = tuple(f"CHAOS-{number:02}" for number in range(16))
SHARDS: Final = 2
RECOVERY_TIMEOUT_S: Final = 90.0
DRAIN_TIMEOUT_S: Final = 60.0
SEED_VARIABLE: Final = "CHAOS_SEED"


class Victim(StrEnum):
    """What is killed; the later, the graver."""

    SHARD = "shard actor"
    POSTGRES = "Postgres"
    EVERYTHING = "everything"


ROUNDS: Final = (*[Victim.SHARD] * 11, *[Victim.POSTGRES] * 6, *[Victim.EVERYTHING] * 3)
HASTY_ROUNDS: Final = 0.35
"""Share of the rounds after which the next kill does not wait for recovery, and so may fall into it."""


@dataclass(frozen=True, slots=True)
class Round:
    """One kill, and when on the monotonic clock."""

    victim: Victim
    at: float


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    with capsys.disabled():
        print(f"\n{SEED_VARIABLE}={seed}")  # noqa: T201 - a failure is of use only with its seed
    return seed


async def test_every_acknowledged_update_is_there_exactly_once_whatever_is_killed(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    told = Told()
    with service_process(shard_count=SHARDS) as service:
        await asyncio.to_thread(service.start)
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await open_portfolios(service.base_url, PORTFOLIOS, told)
        rounds = await _rounds_under_load(service, seed, told)
        truth = await asyncio.to_thread(read_truth, service.postgres_dsn)
        findings = check(told.asked.values(), truth.journals)
        lines = _table(told, rounds, truth, Counter(finding.breach for finding in findings), time.monotonic() - began)
        with capsys.disabled():
            print("\n".join(lines))  # noqa: T201 - the counts are what this test is read for
        assert findings == []
        assert told.surprises == []
        _check_marks(told, truth)
        await _check_states(service, truth)
        assert await asyncio.to_thread(service.stop) == 0
        assert service.processes() == []
    # A run in which nothing happened would prove nothing.
    answers = Counter(asked.answer for asked in told.asked.values())
    assert Counter(played.victim for played in rounds) == Counter(ROUNDS)
    # Nothing starts in less: a shorter absence would mean that it was measured beside the kill.
    away_s = [away_s for victim, away_s in _absences(told, rounds) if victim is Victim.EVERYTHING]
    assert len(away_s) >= SHARDS
    assert min(away_s) > 2
    assert answers[Answer.ACKNOWLEDGED] > 1_000
    assert (
        min(answers[Answer.REFUSED], told.counts["retries"], told.counts["replayed answers"], told.counts["reads"]) > 0
    )


async def _rounds_under_load(service: ServiceProcess, seed: int, told: Told) -> list[Round]:
    stopping = asyncio.Event()
    clients = [ChaosClient(number, service.base_url, PORTFOLIOS, seed, told) for number in range(CLIENTS)]
    tasks = [
        *(asyncio.create_task(client.run(stopping)) for client in clients),
        asyncio.create_task(post_marks(service.base_url, seed, told, stopping)),
    ]
    try:
        rounds = await _play(service, random.Random(seed), told)
        stopping.set()
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return rounds


async def _play(service: ServiceProcess, chance: random.Random, told: Told) -> list[Round]:
    order = list(ROUNDS)
    chance.shuffle(order)
    rounds: list[Round] = []
    for victim in order:
        await asyncio.sleep(chance.uniform(0.2, 3.0))
        rounds.append(Round(victim, await asyncio.to_thread(_kill, service, victim, chance)))
        if victim is Victim.EVERYTHING:
            await asyncio.to_thread(_start_again, service, chance)
        if victim is Victim.EVERYTHING or chance.random() > HASTY_ROUNDS:
            await _until_serving(service, told, rounds[-1].at)
    await _until_serving(service, told, time.monotonic())
    return rounds


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


def _check_marks(told: Told, truth: Truth) -> None:
    for instrument_id, (price, as_of) in told.marks.items():
        kept = truth.marks[InstrumentId(instrument_id)]
        # A mark whose answer was lost may be newer than the last one acknowledged.
        assert (kept.time, kept.price) == (as_of, price) or kept.time > as_of


async def _check_states(service: ServiceProcess, truth: Truth) -> None:
    """REST answers what the journal amounts to, byte for byte. Marks may take a refresh interval to show."""
    documents = truth.documents()
    assert set(documents) == set(PORTFOLIOS)
    async with httpx.AsyncClient(base_url=f"{service.base_url}/api/v1") as http:
        for portfolio_id, document in documents.items():
            for part, expected in (("state", document.state), ("positions", document.positions)):
                async with asyncio.timeout(15):
                    while (found := (await http.get(f"/portfolio/{portfolio_id}/{part}")).content) != expected:
                        await asyncio.sleep(0.5)
                        if _version(found) != _version(expected):
                            assert found == expected


def _version(document: bytes) -> bytes:
    return document.partition(b'"version":')[2].partition(b",")[0]


def _table(told: Told, rounds: Sequence[Round], truth: Truth, breaches: Counter[Breach], took_s: float) -> list[str]:
    answers = Counter(asked.answer for asked in told.asked.values())
    longest: dict[Victim, float] = defaultdict(float)
    for victim, away_s in _absences(told, rounds):
        longest[victim] = max(longest[victim], away_s)
    figures: dict[str, object] = {
        **{f"rounds: {victim}": count for victim, count in Counter(played.victim for played in rounds).items()},
        "updates attempted": told.counts["attempted"],
        **{f"updates {answer}": answers[answer] for answer in Answer},
        "attempts repeated": told.counts["retries"],
        "replayed answers": told.counts["replayed answers"],
        "reads after writes": told.counts["reads"],
        "marks acknowledged": told.counts["acknowledged marks"],
        "journal rows": truth.row_count,
        **{f"updates {breach}": breaches[breach] for breach in (Breach.LOST, Breach.DOUBLED, Breach.TORN)},
        "other findings": sum(breaches.values()) - sum(breaches[b] for b in (Breach.LOST, Breach.DOUBLED, Breach.TORN)),
        "surprising answers": len(told.surprises),
        **{f"longest unavailability, {victim}": f"{away_s:.1f} s" for victim, away_s in longest.items()},
        **{name: count for name, count in sorted(told.counts.items()) if name.startswith("answers")},
        "took": f"{took_s:.0f} s",
    }
    return [
        f"  {name:<44}{figure:>12,}" if isinstance(figure, int) else f"  {name:<44}{figure:>12}"
        for name, figure in figures.items()
    ]


def _absences(told: Told, rounds: Sequence[Round]) -> Iterator[tuple[Victim, float]]:
    """How long a shard acknowledged nothing around each kill, and the gravest kill of that time."""
    by_shard: dict[ShardId, list[float]] = defaultdict(list)
    for at, portfolio_id in told.acknowledged_at:
        by_shard[shard_of(PortfolioId(portfolio_id), SHARDS)].append(at)
    for moments in by_shard.values():
        for before, after in pairwise(moments):
            kills = [played.victim for played in rounds if before <= played.at <= after]
            if kills:
                yield max(kills, key=list(Victim).index), after - before
