"""A standby beside real processes and a real Postgres: who has died is known at once, and one alone succeeds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from actors.deaths import Deaths
from actors.owner import Owner
from actors.settings import Limits
from actors.standby import Follower, Standby, Ward
from persistence import postgres
from persistence.succession import OwnedShard, Succession
from portfolio.errors import Deposed, ShardUnavailable
from portfolio.ids import ShardId
from tests.integration.conftest import Inspector, NewJournal
from tests.support.shards import eventually

ZERO = ShardId(0)
STARTED_FIELD = 19
"""Of /proc/<pid>/stat after the command's name."""
OFTEN = Limits(standby_look_s=0.02)


class Counted:
    """A shard that counts how often it was followed."""

    def __init__(self) -> None:
        self.rounds = 0

    async def follow(self) -> None:
        self.rounds += 1


@dataclass(slots=True)
class OtherProcess:
    """A process that may own shards."""

    process: subprocess.Popen[bytes]
    owner: str

    def kill(self) -> None:
        self.process.kill()


@pytest.fixture
def other() -> Iterator[OtherProcess]:
    """A process beside this one. Killed, it stays a zombie until the end of the test, as one of Ray's may."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        owner = replace(Owner.here("node", "other"), pid=process.pid, started=int(fields[STARTED_FIELD]))
        try:
            yield OtherProcess(process, str(owner))
        finally:
            process.kill()


@pytest_asyncio.fixture
async def succession(pool: postgres.Pool) -> Succession:
    """Two shards that nobody owns."""
    return Succession(pool)


def standby(owners: list[OwnedShard], limits: Limits) -> tuple[Standby, dict[ShardId, Counted]]:
    """One that is told of those owners."""
    made: dict[ShardId, Counted] = {}

    async def look() -> list[OwnedShard]:
        return owners

    def follower(shard_id: ShardId) -> Follower:
        return made.setdefault(shard_id, Counted())

    return Standby(me=Owner.here("node", "me"), look=look, follower=follower, limits=limits), made


async def test_the_end_of_an_owner_is_known_at_once(other: OtherProcess) -> None:
    waiting, made = standby([OwnedShard(ZERO, other.owner, "shard-0")], Limits(standby_look_s=20.0))
    bereaved = asyncio.create_task(waiting.bereaved())
    await eventually(lambda: waiting.held == {ZERO})
    assert not bereaved.done()
    assert made[ZERO].rounds
    other.kill()
    # Long before it looks again.
    assert await asyncio.wait_for(bereaved, 10) == Ward(ZERO, other.owner, "shard-0")
    assert waiting.orphan(ZERO)
    waiting.close()


async def test_an_owner_that_had_died_before_anybody_looked_is_found(other: OtherProcess) -> None:
    other.kill()
    other.process.wait()
    waiting, _ = standby([OwnedShard(ZERO, other.owner, "shard-0")], OFTEN)
    assert await asyncio.wait_for(waiting.bereaved(), 20) == Ward(ZERO, other.owner, "shard-0")
    waiting.close()


async def test_a_ward_that_is_given_up_is_looked_at_again(other: OtherProcess) -> None:
    owners = [OwnedShard(ZERO, other.owner, "shard-0")]
    waiting, _ = standby(owners, OFTEN)
    other.kill()
    ward = await asyncio.wait_for(waiting.bereaved(), 20)
    waiting.give_up(ward)
    owners[:] = [OwnedShard(ZERO, None, "shard-0")]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting.bereaved(), 0.2)
    assert not waiting.followers
    waiting.close()


async def test_while_postgres_is_away_it_keeps_its_wards(other: OtherProcess) -> None:
    answers: list[list[OwnedShard]] = [[OwnedShard(ZERO, other.owner, "shard-0")]]

    async def look() -> list[OwnedShard]:
        if not answers:
            raise ShardUnavailable("Postgres does not answer")
        return answers.pop()

    waiting = Standby(me=Owner.here("node", "me"), look=look, follower=lambda _: Counted(), limits=OFTEN)
    bereaved = asyncio.create_task(waiting.bereaved())
    await asyncio.sleep(0.2)
    other.kill()
    assert (await asyncio.wait_for(bereaved, 20)).shard_id == ZERO
    waiting.close()


async def test_a_process_that_is_watched_no_more_is_not_told_of(other: OtherProcess) -> None:
    deaths = Deaths()
    deaths.watch([other.owner])
    deaths.watch([])
    other.kill()
    other.process.wait()
    await asyncio.sleep(0.1)
    assert not deaths.news.is_set()
    # One whose number is another's by now has ended.
    deaths.watch([other.owner])
    assert deaths.news.is_set()
    deaths.close()


async def test_one_standby_alone_succeeds_and_the_actor_before_is_kept_out(
    new_journal: NewJournal, succession: Succession
) -> None:
    dead, restarted = new_journal("dead", "shard-0"), new_journal("again", "shard-0")
    heir = new_journal("heir", "standby-a.1")
    await dead.claim()
    assert (await succession.owners())[0] == OwnedShard(ZERO, "dead", "shard-0")
    seen = {"predecessor": "dead", "actor": "shard-0"}
    assert await succession.designate(ZERO, **seen, heir="standby-a.1")
    # Whoever asked and heard no answer asks again.
    assert await succession.designate(ZERO, **seen, heir="standby-a.1")
    # The first wins, although it has not claimed the shard yet.
    assert not await succession.designate(ZERO, **seen, heir="standby-a.2")
    with pytest.raises(Deposed):
        await restarted.claim()
    assert (await heir.claim()).epoch == 2
    assert not await succession.designate(ZERO, **seen, heir="standby-a.2")


async def test_a_shard_for_which_no_actor_was_meant_has_a_successor(
    new_journal: NewJournal, succession: Succession
) -> None:
    await new_journal("owner").claim()
    assert await succession.designate(ZERO, predecessor="owner", actor=None, heir="standby-a.1")


async def test_a_shard_that_was_let_go_of_has_no_successor(
    new_journal: NewJournal, succession: Succession, inspector: Inspector
) -> None:
    owner = new_journal("owner", "shard-0")
    await owner.claim()
    await owner.release(None)
    assert not await succession.designate(ZERO, predecessor="owner", actor="shard-0", heir="standby-a.1")
    assert inspector.one("select actor from shards where shard_id = 0") == "shard-0"
