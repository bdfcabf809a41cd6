"""One chaos run: a service, a load, a schedule, a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.cpu_steal import CpuSteal
from tests.chaos.aftermath import lost_marks, wrong_states
from tests.chaos.breaches import Finding
from tests.chaos.checker import check
from tests.chaos.journal_reading import read_truth
from tests.chaos.kinds import Kind
from tests.chaos.load import Target, load, open_portfolios
from tests.chaos.misses import never_struck
from tests.chaos.playing import RECOVERY_S, Player, Strike
from tests.chaos.schedule import STEADY, Pace, schedule
from tests.chaos.stand import Stand, chaos_stand
from tests.chaos.told import Told
from tests.cluster.service_process import ServiceProcess, wait_until

SHARDS: Final = 4
PORTFOLIOS: Final = tuple(f"CHAOS-{number:02}" for number in range(64))
WAL_BYTES_MAX: Final = 3 * 1024**3
"""Postgres keeps its write-ahead log below 2 GB where it has the time to."""
JOURNAL_BYTES_PER_S: Final = 1_000_000
"""Twice what the load comes to, indexes and all."""
OVERTIME_MAX: Final = 1.5
"""No fault begins later than this many times the duration asked for, once enough kinds have struck."""
OPENING_TIMEOUT_S: Final = 120.0
LEFT_BEHIND_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be run."""

    seed: int
    duration_s: float
    kinds: Collection[Kind] = tuple(Kind)
    pace: Pace = STEADY
    recovery_s: float = RECOVERY_S
    """How long the service may take to come back from a fault by itself."""
    struck_min: int = 0
    """Faults of so many kinds have struck before the time may end the run: on a slow machine it proves as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run. `logs` are kept only if something was found."""

    plan: Plan
    told: Told
    strikes: list[Strike]
    findings: list[Finding]
    left_out: list[str]
    journal_rows: int
    took_s: float
    steal: float
    logs: str

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings and not self.told.surprises


async def run(plan: Plan, report: Callable[[str], None]) -> Outcome:
    """Play a plan on a stand of its own, of which nothing is left when it returns or raises."""
    began, steal = time.monotonic(), CpuSteal()
    told = Told()
    with chaos_stand(SHARDS, WAL_BYTES_MAX + int(plan.duration_s * JOURNAL_BYTES_PER_S)) as stand:
        kinds, left_out = _possible(plan.kinds, stand)
        report("starting the service")
        await asyncio.to_thread(stand.start)
        target = Target(stand.service.base_url, PORTFOLIOS, SHARDS)
        async with asyncio.timeout(OPENING_TIMEOUT_S):
            await open_portfolios(target.base_url, PORTFOLIOS, told)
        player = Player(stand, target, told, report, plan.recovery_s)
        try:
            async with load(target, plan.seed, told):
                steps = schedule(plan.seed, plan.duration_s, kinds, plan.pace)
                unplayed = await player.play(steps, OVERTIME_MAX * plan.duration_s, plan.struck_min)
                left_out += [f"{unplayed} faults, for want of time"] if unplayed else []
        except TimeoutError:
            told.surprise("clients could not finish what they had begun")
        told.surprises += never_struck(player.strikes, plan.duration_s)
        report("judging")
        findings, rows = await _judged(stand, told)
        logs = "" if not findings and not told.surprises else stand.logs()
        await _ended(stand, told)
    return Outcome(
        plan=plan,
        told=told,
        strikes=player.strikes,
        findings=findings,
        left_out=left_out,
        journal_rows=rows,
        took_s=time.monotonic() - began,
        steal=steal.share(),
        logs=logs,
    )


def _possible(kinds: Collection[Kind], stand: Stand) -> tuple[list[Kind], list[str]]:
    """The kinds that can be played here, and why others cannot."""
    if stand.disk.can_fill:
        return list(kinds), []
    left_out = f"{Kind.DISK_FULL}: a small disk takes root, who may mount one"
    return [kind for kind in kinds if kind is not Kind.DISK_FULL], [left_out]


async def _judged(stand: Stand, told: Told) -> tuple[list[Finding], int]:
    """All findings, and the number of journal rows that were read for them."""
    truth = await asyncio.to_thread(read_truth, stand.servers.postgres_dsn)
    findings = await asyncio.to_thread(check, told.asked.values(), truth.journals, told.reads)
    told.surprises += lost_marks(told, truth)
    told.surprises += await wrong_states(stand.service.base_url, truth)
    return findings, truth.row_count


async def _ended(stand: Stand, told: Told) -> None:
    """Stop the service as an operator does; what is left of it then is a surprise."""
    code = await asyncio.to_thread(stand.service.stop)
    if code:
        told.surprise(f"`up` ended with {code}")
    # The kernel takes a moment to take a process away, and a busy machine a longer one.
    await asyncio.to_thread(wait_until, lambda: not _left_behind(stand.service), LEFT_BEHIND_PATIENCE_S)
    told.surprises += [f"the service did not start: {failure}" for failure in stand.failed_starts]
    told.surprises += [f"a process is left: {process}" for process in _left_behind(stand.service)]


def _left_behind(service: ServiceProcess) -> list[psutil.Process]:
    """What belongs to a service that has ended, but for the servers that it was given."""
    left: list[psutil.Process] = []
    for process in service.processes():
        with suppress(psutil.NoSuchProcess):
            if not process.name().startswith(("postgres", "valkey")):
                left.append(process)
    return left
