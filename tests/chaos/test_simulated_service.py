"""Whatever a correct service does, the checker finds nothing: histories of one that is simulated, faults and all."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.breaches import Breach
from tests.chaos.checker import check
from tests.chaos.history import Answer, Asked, Content, Owner, Read, Wanted, content_of
from tests.chaos.test_checker import FIRST, SECOND, SHARD, chained, journal, numbered, pending

pytestmark = pytest.mark.unit

PORTFOLIOS = (FIRST, SECOND)


@dataclass
class SimulatedService:
    """Acts on each call at one moment between its request and its answer; time goes by as `chance` has it.

    Owners change, answers get lost and are asked for again, and calls overlap.
    """

    chance: random.Random
    now: float = 0.0
    epoch: int = 1
    booked: list[tuple[Asked, int]] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    unbooked: list[Asked] = field(default_factory=list)
    units: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0]))

    def update(self, number: int) -> None:
        """A client asks for something, once or several times, and may or may not get to know."""
        portfolio = self.chance.choice(PORTFOLIOS)
        sent = self._some_time_before()
        wanted = Wanted("BUY", "X", Decimal(self.chance.randint(1, 9)), Decimal(10))
        asked = Asked(
            key=f"k{number}",
            portfolio_id=portfolio,
            transactions=(wanted,),
            answer=Answer.UNKNOWN,
            sent=sent,
            last_sent=sent,
        )
        if self.chance.random() < 0.2:
            answer = self.chance.choice((Answer.UNKNOWN, Answer.REFUSED))
            self.unbooked.append(replace(asked, answer=answer, answered=self._some_time_after()))
            return
        self.units[portfolio].append(self.units[portfolio][-1] + int(wanted.quantity))
        self.booked.append((self._answered(asked), self.epoch))

    def _answered(self, asked: Asked) -> Asked:
        fate = self.chance.random()
        if fate < 0.2:
            return replace(asked, answered=self._some_time_after())
        is_repeated = fate < 0.4
        if is_repeated:
            # The answer is lost; others are served before the client asks again.
            last_sent = self._some_time_after()
            self.now = last_sent
            self._others()
            asked = replace(asked, last_sent=last_sent)
        return replace(
            asked,
            answer=Answer.ACKNOWLEDGED,
            version=self._version(asked.portfolio_id),
            replayed=is_repeated,
            answered=self._some_time_after(),
            owners=(Owner(SHARD, self.epoch),),
            content=self._content(asked.portfolio_id),
        )

    def _others(self) -> None:
        for _ in range(self.chance.randint(0, 2)):
            self.read()

    def read(self) -> None:
        """A client reads."""
        portfolio = self.chance.choice(PORTFOLIOS)
        self.reads.append(
            Read(
                portfolio_id=portfolio,
                version=self._version(portfolio),
                sent=self._some_time_before(),
                answered=self._some_time_after(),
                owners=(Owner(SHARD, self.epoch),),
                content=self._content(portfolio),
            )
        )

    def fail_over(self) -> None:
        """Another owner takes the shard."""
        self.epoch += self.chance.randint(1, 3)

    def _version(self, portfolio: str) -> int:
        return len(self.units[portfolio])

    def _content(self, portfolio: str) -> Content:
        units = self.units[portfolio][-1]
        return content_of(Decimal(-10 * units), [("X", Decimal(units))])

    def _some_time_before(self) -> float:
        return self.now - self.chance.random() * 3

    def _some_time_after(self) -> float:
        return self.now + self.chance.random() * 3


def simulated(seed: int, steps: int) -> SimulatedService:
    service = SimulatedService(random.Random(seed))
    for number in range(steps):
        service.now += service.chance.random()
        act = service.chance.choices(["update", "read", "fail over"], [5, 5, 1])[0]
        if act == "update":
            service.update(number)
        elif act == "read":
            service.read()
        else:
            service.fail_over()
    return service


def found(service: SimulatedService) -> set[Breach]:
    updates = [asked for asked, _ in service.booked]
    rows = numbered(pending(updates))
    first_of_updates = len(rows) - len(updates)
    owned = [replace(row, epoch=epoch) for row, (_, epoch) in zip(rows[first_of_updates:], service.booked, strict=True)]
    kept = journal(chained([*rows[:first_of_updates], *owned]))
    return {finding.breach for finding in check([*updates, *service.unbooked], {SHARD: kept}, service.reads)}


@given(st.integers(0, 10**9), st.integers(0, 120))
def test_a_correct_service_has_no_findings(seed: int, steps: int) -> None:
    assert found(simulated(seed, steps)) == set()


@pytest.mark.parametrize("seed", range(20))
def test_a_service_whose_reads_lag_is_found(seed: int) -> None:
    service = simulated(seed, 400)
    service.reads = [replace(read, sent=read.sent + 20, answered=read.answered + 20) for read in service.reads]
    assert found(service) >= {Breach.STALE, Breach.ZOMBIE}
