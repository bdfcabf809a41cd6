"""A standby beside real processes and a real Postgres: who has died is known at once, and one alone succeeds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from actors.deaths import Deaths
from actors.owner import Owner
from actors.settings import Limits
from actors.standby import Follower, Standby, Ward
from persistence import postgres
from persistence.journal import PostgresJournal
from persistence.migrate import set_up_cluster
from persistence.succession import OwnedShard, Succession
from portfolio.errors import Deposed, ShardUnavailable
from portfolio.ids import ShardId

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
async def succession(database: str) -> AsyncIterator[Succession]:
    """Two shards that nobody owns."""
    set_up_cluster(database, 2)
    async with postgres.pool(database, size_max=2) as pool:
        yield Succession(pool)


def standby(owners: list[OwnedShard], limits: Limits) -> tuple[Standby, dict[ShardId, Counted]]:
    """One that is told of those owners."""
    made: dict[ShardId, Counted] = {}

    async def look() -> list[OwnedShard]:
        return owners

    def follower(shard_id: ShardId) -> Follower:
        return made.setdefault(shard_id, Counted())

    return Standby(me=Owner.here("node", "me"), look=look, follower=follower, limits=limits), made


async def test_the_end_of_an_owner_is_known_at_once(other: OtherProcess) -> None:
    waiting, made = standby([OwnedShard(ZERO, other.owner, "shard-0")], Limits(standby_look_s=1.0))
    bereaved = asyncio.create_task(waiting.bereaved())
    await asyncio.sleep(1.2)
    assert not bereaved.done()
    assert made[ZERO].rounds
    assert waiting.held == {ZERO}
    began = time.monotonic()
    other.kill()
    assert await bereaved == Ward(ZERO, other.owner, "shard-0")
    assert time.monotonic() - began < 0.5
    assert waiting.orphan(ZERO)
    waiting.close()


async def test_an_owner_that_had_died_before_anybody_looked_is_found(other: OtherProcess) -> None:
    other.kill()
    other.process.wait()
    waiting, _ = standby([OwnedShard(ZERO, other.owner, "shard-0")], OFTEN)
    assert await asyncio.wait_for(waiting.bereaved(), 5) == Ward(ZERO, other.owner, "shard-0")
    waiting.close()


async def test_a_ward_that_is_given_up_is_looked_at_again(other: OtherProcess) -> None:
    owners = [OwnedShard(ZERO, other.owner, "shard-0")]
    waiting, _ = standby(owners, OFTEN)
    other.kill()
    ward = await asyncio.wait_for(waiting.bereaved(), 5)
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
    assert (await asyncio.wait_for(bereaved, 5)).shard_id == ZERO
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
    database: str, succession: Succession
) -> None:
    async with postgres.pool(database, size_max=2) as pool:

        def journal(owner: str, actor: str) -> PostgresJournal:
            return PostgresJournal(database, ZERO, owner, pool, actor)

        dead, restarted, heir = journal("dead", "shard-0"), journal("again", "shard-0"), journal("heir", "standby-a.1")
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
        for one in (dead, restarted, heir):
            await one.close()


async def test_a_shard_for_which_no_actor_was_meant_has_a_successor(database: str, succession: Succession) -> None:
    async with postgres.pool(database, size_max=2) as pool:
        owner = PostgresJournal(database, ZERO, "owner", pool)
        await owner.claim()
        assert await succession.designate(ZERO, predecessor="owner", actor=None, heir="standby-a.1")
        await owner.close()


async def test_a_shard_that_was_let_go_of_has_no_successor(database: str, succession: Succession) -> None:
    async with postgres.pool(database, size_max=2) as pool:
        owner = PostgresJournal(database, ZERO, "owner", pool, "shard-0")
        await owner.claim()
        await owner.release(None)
        assert not await succession.designate(ZERO, predecessor="owner", actor="shard-0", heir="standby-a.1")
        with psycopg.connect(database) as connection:
            assert connection.execute("select actor from shards where shard_id = 0").fetchone() == ("shard-0",)
        await owner.close()
