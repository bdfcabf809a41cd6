"""Plays a schedule against a stand: strikes, heals, and waits for the service to come back where the schedule says so."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from portfolio.ids import PortfolioId
from portfolio.sharding import shard_of
from tests.chaos.injection import fault
from tests.chaos.kinds import TRAITS, Kind
from tests.chaos.load import Target
from tests.chaos.schedule import Step
from tests.chaos.stand import Stand
from tests.chaos.told import Told
from tests.chaos.victims import MissedError

RECOVERY_S: Final = 60.0
_POLL_S: Final = 0.1
_COMMITTED_BEFORE_S: Final = 0.1
"""What is acknowledged this soon after a fault may have been committed before it."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault as it was played, on the monotonic clock; `missed` says why there was nothing to strike, if so."""

    kind: Kind
    at: float
    healed: float
    missed: str = ""


def struck(strikes: Iterable[Strike]) -> set[Kind]:
    """The kinds of fault that found something to strike."""
    return {strike.kind for strike in strikes if not strike.missed}


class Player:
    """Plays on one stand under one load. Where the service does not come back by itself, that is noted, and it is started anew."""

    def __init__(
        self, stand: Stand, target: Target, told: Told, report: Callable[[str], None], recovery_s: float = RECOVERY_S
    ) -> None:
        self._stand = stand
        self._target = target
        self._told = told
        self._report = report
        self._recovery_s = recovery_s
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._active: set[asyncio.Task[None]] = set()
        self.strikes: list[Strike] = []

    async def play(self, steps: Sequence[Step], within_s: float, struck_min: int) -> int:
        """Play the steps; at the end all faults are healed and the service serves. Gives how many there was no time for.

        None begins later than `within_s`, however long the service took to come back from those before, unless faults of
        fewer than `struck_min` kinds have struck by then.
        """
        deadline = time.monotonic() + within_s
        try:
            for count, step in enumerate(steps):
                if time.monotonic() > deadline and len(struck(self.strikes)) >= struck_min:
                    await self._recover()
                    return len(steps) - count
                await self._play_one(step)
            await self._recover()
            return 0
        finally:
            for task in self._active:
                task.cancel()
            await asyncio.gather(*self._active, return_exceptions=True)

    async def _play_one(self, step: Step) -> None:
        await asyncio.sleep(step.distance_s)
        is_heavy = TRAITS[step.kind].is_heavy
        if is_heavy:
            await self._recover()
        task = asyncio.create_task(self._strike(step))
        self._active.add(task)
        if step.waits or is_heavy:
            await self._recover()

    async def _strike(self, step: Step) -> None:
        async with self._turns[TRAITS[step.kind].target]:
            at = time.monotonic()
            missed = ""
            try:
                await self._inflict(step)
            except MissedError as error:
                missed = str(error)
            self.strikes.append(Strike(step.kind, at, time.monotonic(), missed))
            self._report(f"{step.kind}{f': {missed}' if missed else ''}")

    async def _inflict(self, step: Step) -> None:
        inflicted = fault(self._stand, step)
        await asyncio.to_thread(inflicted.__enter__)
        try:
            await asyncio.sleep(step.duration_s)
        finally:
            await asyncio.to_thread(inflicted.__exit__, None, None, None)

    async def _recover(self) -> None:
        """Return once all faults are healed and every shard has acknowledged an update after that."""
        tasks, self._active = self._active, set()
        await asyncio.gather(*tasks)
        since = time.monotonic()
        if not await self._serves(since):
            self._complain(since)
            await asyncio.to_thread(self._stand.start_anew)
            await self._serves(time.monotonic())

    def _complain(self, since: float) -> None:
        ended = self._stand.service.ended()
        state = "" if ended is None else f"; `up` has ended with {ended}"
        last = ", ".join(strike.kind for strike in self.strikes[-3:])
        silent = sorted(set(range(self._target.shard_count)) - self._serving(since))
        what = f"not serving {self._recovery_s:g} s after {last}{state}; silent shards: {silent}"
        self._told.surprise(f"{what}\n{self._stand.logs()}")
        self._report(f"{what}: started anew")

    async def _serves(self, since: float) -> bool:
        while len(self._serving(since)) < self._target.shard_count:
            if time.monotonic() > since + self._recovery_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _serving(self, since: float) -> set[int]:
        """The shards that have acknowledged something since."""
        moments = self._told.acknowledged_at
        recent = moments[bisect_left(moments, (since + _COMMITTED_BEFORE_S, "")) :]
        return {shard_of(PortfolioId(portfolio_id), self._target.shard_count) for _, portfolio_id in recent}
