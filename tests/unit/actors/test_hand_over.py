"""A shard is handed over: the old owner falls silent, and the one that read ahead begins with exactly what it had."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from actors.lease import Lease
from actors.line import Line
from actors.shard_status import Phase
from portfolio.book import Mark
from portfolio.errors import Deposed, ShardUnavailable
from portfolio.ids import InstrumentId, ShardId
from portfolio.ports import MirrorUnavailable, Picture
from tests.oracles.builders import X, buy, deposit, minutes, sell, transaction
from tests.oracles.memory_store import HangingMirror, MemoryDatabase, MemoryJournal, MemoryMirror
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, IdleShard, RunningShard, announced, eventually, idle_memory_shard, memory_shard

SHARD = ShardId(0)
HASTY = replace(FAST, standstill_timeout_s=0.1)


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def heir(database: MemoryDatabase) -> IdleShard:
    """The successor of the database's one shard."""
    return idle_memory_shard(database)


async def _let_go(old: RunningShard) -> None:
    await old.shard.hand_over("shard-0.1")
    await asyncio.wait_for(old.life, 5)


async def test_the_old_owner_answers_shows_and_announces_nothing_more(database: MemoryDatabase) -> None:
    mirror = MemoryMirror()
    mirror.is_down = True
    async with memory_shard(database, mirror=mirror) as old:
        await old.book(opened(1))
        await old.book(updated(1, buy("2", "3")))
        await _let_go(old)
        mirror.is_down = False
        await asyncio.sleep(0.05)
        assert (mirror.pictures, mirror.events) == ({}, [])
        for refused in (
            lambda: old.shard.submit(updated(1)),
            lambda: old.shard.books,
            lambda: old.shard.show_marks({}),
        ):
            with pytest.raises(ShardUnavailable, match=r"moved to shard-0\.1") as caught:
                refused()
            assert caught.value.cause == {"shard": 0, "moving": True}
        assert old.shard.has_let_go
        assert old.shard.status().phase is Phase.STOPPED
        assert database.shards[SHARD].owner is None


async def test_an_owner_that_has_given_up_its_lease_cannot_get_it_back() -> None:
    lease = Lease(3.0)
    lease.proven(lease.now())
    assert lease.is_held
    lease.give_up()
    lease.proven(lease.now())
    assert not lease.is_held


async def test_events_that_wait_while_a_shard_is_handed_over_are_left_to_the_successor(
    database: MemoryDatabase, heir: IdleShard
) -> None:
    mirror = HangingMirror()
    async with memory_shard(database, mirror=mirror) as old:
        await old.book(opened(1))
        await mirror.asked.wait()
        going = asyncio.ensure_future(old.shard.hand_over("shard-0.1"))
        await asyncio.sleep(0.02)
        await old.book(updated(1))
        assert not going.done()
        mirror.gate.set()
        await going
        await asyncio.wait_for(old.life, 5)
    assert announced(mirror) == [(portfolio(1), 1)]
    async with idle_memory_shard(database, mirror=mirror).serving() as new:
        await new.book(updated(1))
        await eventually(lambda: announced(mirror)[-1] == (portfolio(1), 3))
    versions = [version for _, version in announced(mirror)]
    assert versions == sorted(versions)


class DeafMirror(MemoryMirror):
    """Takes the first cancellation for a lost connection, as drivers have done, and would go on."""

    shows = 0

    async def show(self, pictures: Sequence[Picture]) -> None:
        self.shows += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if self.shows == 1:
                raise MirrorUnavailable("connection closed by server") from None
            raise


async def test_what_is_deaf_to_its_end_shows_nothing_more_all_the_same(database: MemoryDatabase) -> None:
    mirror = DeafMirror()
    async with memory_shard(database, mirror=mirror) as old:
        await old.book(opened(1))
        await eventually(lambda: mirror.shows == 1)
        await _let_go(old)
    assert mirror.shows == 1


async def test_the_successor_begins_with_what_the_old_one_had(database: MemoryDatabase, heir: IdleShard) -> None:
    async with memory_shard(database) as old:
        await old.book(opened(1, cash="100"))
        await old.book(updated(1, buy("3", "7.00000001"), key="k"))
        await heir.shard.read_ahead()
        await old.book(opened(2))
        old.shard.show_marks({X: Mark(Decimal("8.50000000"), minutes(10**6))})
        await old.shard.record_marks({X: Mark(Decimal("8.50000000"), minutes(10**6))})
        old.shard.books.revalue()
        await old.book(updated(1, sell("1", "8")))
        before = old.everything()
        await _let_go(old)
    async with heir.serving() as new:
        assert new.everything() == before
        assert (await new.shard.submit(updated(1, buy("3", "7.00000001"), key="k"))).replayed
        assert (await new.book(updated(1))).version == 5


@pytest.mark.parametrize("looks", ["once", "always"])
async def test_positions_that_came_and_went_between_two_looks_stay_closed(
    database: MemoryDatabase, heir: IdleShard, looks: str
) -> None:
    """The checkpoint held them meanwhile; the successor, which never saw it, must not leave them there."""

    async def look() -> None:
        if looks == "always":
            await heir.shard.read_ahead()

    async with memory_shard(database) as old:
        await old.book(opened(1, cash="100"))
        await old.book(updated(1, buy("1", "5")))
        await old.save()
        await heir.shard.read_ahead()
        await old.book(updated(1, sell("1", "5"), transaction("BUY", "Y", "2", "1")))
        await old.save()
        await look()
        await old.book(updated(1, transaction("SELL", "Y", "-2", "1"), transaction("BUY", "Z", "2", "1")))
        await old.save()
        await look()
        before = old.everything()
        await _let_go(old)
    async with heir.serving() as new:
        assert new.everything() == before
        await new.book(updated(1, transaction("SELL", "Z", "-2", "1")))
        await new.stop()
        after = new.shard
    assert after.has_let_go is False
    assert database.shards[SHARD].books[portfolio(1)].positions == {}
    async with memory_shard(database) as third:
        assert third.shard.books.get(portfolio(1)).positions == {}
        assert third.shard.status().tail_rows_recovered == 0


async def test_a_checkpoint_whose_end_the_successor_cannot_know_is_read_again(
    database: MemoryDatabase, heir: IdleShard
) -> None:
    """The owner dies after a checkpoint and more rows: what the checkpoint holds is not what was read ahead."""
    async with memory_shard(database) as old:
        await old.book(opened(1, cash="100"))
        await heir.shard.read_ahead()
        await old.book(updated(1, buy("1", "5"), transaction("BUY", "Y", "2", "1")))
        await old.save()
        await old.book(updated(1, sell("1", "5")))
        await heir.shard.read_ahead()
        before = old.everything()
        await old.kill()
    async with heir.serving() as new:
        assert new.everything() == before
        await new.stop()
    async with memory_shard(database) as third:
        assert third.everything() == before
        assert third.shard.books.get(portfolio(1)).positions.keys() == {InstrumentId("Y")}


async def test_what_was_not_announced_is_announced_by_the_successor(database: MemoryDatabase, heir: IdleShard) -> None:
    silent, heard = MemoryMirror(), MemoryMirror()
    silent.is_down = True
    async with memory_shard(database, mirror=silent) as old:
        for number in (1, 2):
            await old.book(opened(number))
        await old.book(updated(1))
        await heir.shard.read_ahead()
        await _let_go(old)
    async with idle_memory_shard(database, mirror=heard).serving():
        await eventually(lambda: sorted(announced(heard)) == [(portfolio(1), 2), (portfolio(2), 1)])


async def test_a_hand_over_that_does_not_come_to_rest_is_refused_and_the_shard_serves_on(
    database: MemoryDatabase,
) -> None:
    async with memory_shard(database, limits=HASTY) as old:
        assert isinstance(old.journal, MemoryJournal)
        await old.book(opened(1))
        old.journal.gate.clear()
        held = old.shard.submit(updated(1))
        with pytest.raises(ShardUnavailable, match="takes too long"):
            await old.shard.hand_over("shard-0.1")
        waiting = old.shard.submit(updated(1))
        old.journal.gate.set()
        assert [(await answer).book.version for answer in (held, waiting)] == [2, 3]
        assert (old.shard.has_let_go, old.shard.status().phase) == (False, Phase.SERVING)
        old.shard._limits = FAST
        await _let_go(old)


async def test_a_redis_that_hangs_holds_up_no_write(database: MemoryDatabase) -> None:
    async with memory_shard(database, limits=HASTY) as old:
        await old.book(opened(1))
        async with old.shard._serving.publisher.silence():  # type: ignore[union-attr]
            going = asyncio.ensure_future(old.shard.hand_over("shard-0.1"))
            await asyncio.sleep(0.02)
            assert (await old.book(updated(1))).version == 2
            with pytest.raises(ShardUnavailable):
                await going
        assert (await old.book(updated(1))).version == 3


async def test_a_second_hand_over_at_the_same_time_is_refused(database: MemoryDatabase) -> None:
    async with memory_shard(database) as old:
        assert isinstance(old.journal, MemoryJournal)
        await old.book(opened(1))
        old.journal.gate.clear()
        answer = old.shard.submit(updated(1))
        first = asyncio.ensure_future(old.shard.hand_over("shard-0.1"))
        await eventually(lambda: old.shard._serving.writer._sealed is not None)  # type: ignore[union-attr]
        for second in (old.shard.hand_over("shard-0.2"), old.shard.split(2)):
            with pytest.raises(ShardUnavailable, match="already"):
                await second
        # Those who were refused have not let anybody in.
        with pytest.raises(ShardUnavailable):
            old.shard.submit(updated(1))
        old.journal.gate.set()
        await first
        assert (await answer).book.version == 2


async def test_an_owner_that_was_deposed_on_the_way_hands_nothing_over(database: MemoryDatabase) -> None:
    async with memory_shard(database, limits=replace(FAST, heartbeat_interval_s=3600.0, lease_s=7200.0)) as old:
        await old.book(opened(1))
        await MemoryJournal(database, SHARD, "another").claim()
        with pytest.raises(Deposed):
            await old.shard.hand_over("shard-0.1")
        assert database.shards[SHARD].owner == "another"


async def test_a_release_that_nobody_answers_leaves_the_shard_to_whoever_postgres_names(
    database: MemoryDatabase, heir: IdleShard
) -> None:
    async with memory_shard(database) as old:
        assert isinstance(old.journal, MemoryJournal)
        await old.book(opened(1))
        before = old.everything()
        old.journal.is_silent = True
        with pytest.raises(ShardUnavailable):
            await old.shard.hand_over("shard-0.1")
        # It may have been released: nothing is answered, and the shard ends.
        assert old.shard.has_let_go
        await asyncio.wait_for(old.life, 5)
    async with heir.serving() as new:
        assert new.everything() == before


async def test_updates_of_one_call_keep_their_order_when_the_shard_comes_back_in_between(
    database: MemoryDatabase,
) -> None:
    """The first is turned away without the lease; the second must not be booked before the first is tried again."""
    async with memory_shard(database, limits=replace(FAST, heartbeat_interval_s=3600.0, lease_s=7200.0)) as old:
        await old.book(opened(1))
        line = Line()
        proven_at, old.shard._lease.proven_at = old.shard._lease.proven_at, float("-inf")
        with pytest.raises(ShardUnavailable):
            old.shard.submit(updated(1, deposit("1")), line.place(portfolio(1)))
        old.shard._lease.proven_at = proven_at
        with pytest.raises(ShardUnavailable, match="before this one"):
            old.shard.submit(updated(1, deposit("2")), line.place(portfolio(1)))


async def test_a_successor_that_heals_a_checkpoint_takes_out_of_it_what_never_was(
    database: MemoryDatabase, heir: IdleShard
) -> None:
    async with memory_shard(database) as old:
        await old.book(opened(1, cash="100"))
        await old.book(updated(1, buy("1", "5")))
        await old.book(opened(2, cash="100"))
        await old.save()
        saved = database.shards[SHARD].books
        book, bogus = saved[portfolio(1)], InstrumentId("BOGUS")
        (position,) = book.positions.values()
        saved[portfolio(1)] = replace(book, positions={**book.positions, bogus: replace(position, instrument_id=bogus)})
        await heir.shard.read_ahead()
        await old.book(updated(2, buy("1", "5")))
        await old.save()
        await heir.shard.read_ahead()
        await _let_go(old)
    async with heir.serving() as new:
        assert list(new.shard.books.get(portfolio(1)).positions) == [X]
        await new.stop()
    assert list(database.shards[SHARD].books[portfolio(1)].positions) == [X]
