"""Which shards a standby looks after, and what it reads while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from dataclasses import replace
from typing import Final
from unittest.mock import AsyncMock

import pytest

from actors.owner import Owner
from actors.settings import Limits
from actors.standby import Standby, Ward, shard_of_actor, wards_of
from persistence.succession import OwnedShard
from portfolio.ids import ShardId
from tests.oracles.builders import buy
from tests.oracles.memory_store import MemoryDatabase, newest_row_damaged
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import eventually, idle_memory_shard, memory_shard

ME = Owner(node="node1", host="boot:1", pid=10, started=5, incarnation="a")
NEIGHBOUR = replace(ME, pid=11, incarnation="b")
THRESHOLDS_BEFORE: Final = gc.get_threshold()


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def test_its_wards_are_the_shards_of_other_processes_of_its_node() -> None:
    shards = [
        OwnedShard(ShardId(0), str(NEIGHBOUR), "shard-0"),
        OwnedShard(ShardId(1), str(replace(NEIGHBOUR, node="node2")), "shard-1"),
        OwnedShard(ShardId(2), str(replace(NEIGHBOUR, host="boot:2")), "shard-2"),
        OwnedShard(ShardId(3), str(ME), "shard-3"),
        OwnedShard(ShardId(4), None, "shard-4"),
        OwnedShard(ShardId(5), "test/1", "shard-5"),
        OwnedShard(ShardId(6), str(replace(NEIGHBOUR, pid=ME.pid, started=3)), "shard-6"),
    ]
    assert wards_of(ME, shards) == {
        ShardId(0): Ward(ShardId(0), str(NEIGHBOUR), "shard-0"),
        # A dead process had the number that this one has now.
        ShardId(6): Ward(ShardId(6), str(replace(NEIGHBOUR, pid=ME.pid, started=3)), "shard-6"),
    }


class Followed:
    """A shard of which nothing is read, unless it is told to fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def follow(self) -> None:
        if self._error is not None:
            raise self._error


def standby(owners: list[OwnedShard], error: Exception | None = None) -> Standby:
    """One that is told of those owners, as often as can be."""

    async def look() -> list[OwnedShard]:
        return owners

    limits = Limits(standby_look_s=0.01)
    return Standby(me=Owner.here("node", "me"), look=look, follower=lambda _: Followed(error), limits=limits)


async def test_a_standby_that_cannot_follow_any_more_does_not_stay_as_if_it_could() -> None:
    neighbour = Owner.here("node", "neighbour")
    waiting = standby([OwnedShard(ShardId(0), str(neighbour), "shard-0")], RuntimeError("a surprise"))
    with pytest.raises(RuntimeError, match="a surprise"):
        await asyncio.wait_for(waiting.bereaved(), 5)
    waiting.close()


async def test_a_shard_that_has_gone_elsewhere_is_held_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # It stops everything for as long as it takes, and the end of an owner is to be heard of at once.
    monkeypatch.setattr(gc, "collect", lambda: pytest.fail("garbage was collected"))
    owners = [OwnedShard(ShardId(0), str(Owner.here("node", "neighbour")), "shard-0")]
    waiting = standby(owners)
    # Once it is held, no further round of following is there to tell.
    monkeypatch.setattr(waiting, "_rest_s", lambda _: 3600.0 if waiting.held else 0.01)
    bereaved = asyncio.create_task(waiting.bereaved())
    try:
        await eventually(lambda: waiting.held == {ShardId(0)})
        owners.clear()
        await eventually(lambda: not waiting.held)
    finally:
        bereaved.cancel()
        await asyncio.gather(bereaved, return_exceptions=True)
        waiting.close()
        gc.set_threshold(*THRESHOLDS_BEFORE)
        gc.unfreeze()


@pytest.mark.parametrize(("took_s", "rest_s"), [(0.0, 0.25), (0.1, 4.0), (0.5, 20.0), (2.0, 30.0)])
def test_it_rests_in_proportion_to_what_following_takes(took_s: float, rest_s: float) -> None:
    waiting = Standby(me=ME, look=AsyncMock(), follower=lambda _: Followed(), limits=Limits())
    assert waiting._rest_s(took_s) == pytest.approx(rest_s)


def test_an_actor_is_the_shard_that_is_meant_for_it() -> None:
    shards = [OwnedShard(ShardId(0), None, "shard-0"), OwnedShard(ShardId(1), str(ME), "standby-node1.1")]
    assert shard_of_actor("standby-node1.1", shards) == ShardId(1)
    assert shard_of_actor("standby-node1.2", shards) is None


async def test_what_was_followed_is_not_read_again_in_the_takeover(database: MemoryDatabase) -> None:
    heir = idle_memory_shard(database)
    async with memory_shard(database) as running:
        for number in range(3):
            await running.book(opened(number))
        await running.save()
        await heir.shard.follow()
        await running.book(updated(1, buy("1", "2")))
        await running.save()
        await running.book(updated(2, buy("1", "2")))
        expected = running.everything()
        await running.kill()
    # Only the changed books are asked for now: the others, gone from the checkpoint, are in memory.
    del database.shards[ShardId(0)].books[portfolio(0)]
    async with heir.serving() as running:
        assert running.everything() == expected
        assert running.shard.status().tail_rows_recovered == 1


async def test_a_key_that_was_used_while_it_followed_books_nothing_again(database: MemoryDatabase) -> None:
    heir = idle_memory_shard(database)
    again = updated(0, buy("1", "2"), key="k")
    async with memory_shard(database) as running:
        await running.book(opened(0))
        await running.save()
        await heir.shard.follow()
        await running.book(again)
        await running.save()
        await heir.shard.follow()
    async with heir.serving() as running:
        assert (await running.shard.submit(again)).replayed
        assert heir.journal.questions == 0


async def test_a_book_that_became_unreadable_is_made_from_its_rows(database: MemoryDatabase) -> None:
    heir = idle_memory_shard(database)
    async with memory_shard(database) as running:
        for number in range(2):
            await running.book(opened(number))
        await running.save()
        await heir.shard.follow()
        await running.book(updated(0, buy("1", "2")))
        await running.save()
        database.shards[ShardId(0)].unreadable[portfolio(0)] = "its status is none"
        await heir.shard.follow()
        expected = running.everything()
    async with heir.serving() as running:
        assert running.everything() == expected


async def test_a_checkpoint_that_went_back_is_read_anew(database: MemoryDatabase) -> None:
    heir = idle_memory_shard(database)
    async with memory_shard(database) as running:
        await running.book(opened(0))
        await running.save()
        await heir.shard.follow()
        expected = running.everything()
        await running.kill()
    stored = database.shards[ShardId(0)]
    stored.books, stored.checkpoint_seq = {}, 0
    await heir.shard.follow()
    async with heir.serving() as running:
        assert running.everything() == expected
        assert running.shard.status().tail_rows_recovered == 1


@pytest.mark.parametrize("looks_meanwhile", [True, False])
async def test_a_portfolio_that_was_set_apart_and_put_back_is_read_anew(
    database: MemoryDatabase, looks_meanwhile: bool
) -> None:
    heir = idle_memory_shard(database)
    async with memory_shard(database) as running:
        for number in range(2):
            await running.book(opened(number))
        await running.save()
        await heir.shard.follow()
        await running.book(updated(0, buy("1", "2")))
        await running.kill()
    with contextlib.ExitStack() as damage:
        damage.enter_context(newest_row_damaged(database.shards[ShardId(0)], portfolio(0)))
        async with memory_shard(database) as running:
            # The checkpoint passes by the row of the one that is set apart.
            await running.book(updated(1, buy("1", "2")))
            await running.save()
            if looks_meanwhile:
                await heir.shard.follow()
            damage.close()
            await running.shard.rebuild(portfolio(0))
            await running.book(updated(1, buy("1", "2")))
            await running.save()
            await heir.shard.follow()
            expected = running.everything()
            await running.kill()
    # It is up to date, and need not begin anew when the owner dies.
    del database.shards[ShardId(0)].books[portfolio(1)]
    async with heir.serving() as running:
        assert running.everything() == expected
