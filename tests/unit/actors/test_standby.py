"""Which shards a standby looks after, and what it reads while it waits."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from actors.owner import Owner
from actors.standby import Ward, shard_of_actor, wards_of
from persistence.succession import OwnedShard
from portfolio.ids import ShardId
from tests.oracles.builders import buy
from tests.oracles.memory_store import MemoryDatabase, newest_row_damaged
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import idle_memory_shard, memory_shard

ME = Owner(node="node1", host="boot:1", pid=10, started=5, incarnation="a")
NEIGHBOUR = replace(ME, pid=11, incarnation="b")


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
    ]
    assert wards_of(ME, shards) == {ShardId(0): Ward(ShardId(0), str(NEIGHBOUR), "shard-0")}


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
