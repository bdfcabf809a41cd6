"""The life of a shard: what it answers before, while and after it serves, and that it always ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest

from actors.shard_status import Phase
from portfolio.book import Mark
from portfolio.errors import Corrupt, Deposed, ShardUnavailable, WrongShard
from portfolio.ids import ShardId
from portfolio.ports import MirrorUnavailable, Picture
from portfolio.sharding import shard_of
from tests.oracles.builders import X, buy, minutes
from tests.oracles.memory_store import MemoryDatabase, MemoryJournal, MemoryMirror
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard, eventually, memory_shard

SHARD = ShardId(0)


class StubbornMirror(MemoryMirror):
    """Takes the first cancellations for a lost connection, as drivers have done."""

    cancellations = 0

    async def show(self, pictures: Sequence[Picture]) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancellations += 1
            if self.cancellations < 3:
                raise MirrorUnavailable("connection closed by server") from None
            raise


async def test_a_shard_ends_although_its_mirror_mistakes_the_cancellation() -> None:
    mirror = StubbornMirror()
    async with memory_shard(MemoryDatabase(), mirror=mirror) as running:
        await running.book(opened(1))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            await running.kill()
    assert mirror.cancellations == 3


async def test_a_deposed_shard_ends_although_its_mirror_mistakes_the_cancellation() -> None:
    database = MemoryDatabase()
    async with memory_shard(database, mirror=StubbornMirror()) as running:
        await running.book(opened(1))
        await asyncio.sleep(0.02)
        await MemoryJournal(database, SHARD, "another").claim()
        async with asyncio.timeout(5):
            assert isinstance(await running.stopped(), Deposed)


async def test_a_stopped_shard_leaves_nothing_to_replay() -> None:
    database = MemoryDatabase()
    async with memory_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, buy("2", "3")))
        before = running.everything()
        await running.stop()
        with pytest.raises(ShardUnavailable):
            running.shard.submit(updated(1))
    async with memory_shard(database) as again:
        assert again.everything() == before
        assert again.shard.status().tail_rows_recovered == 0


async def test_a_killed_shard_replays_its_tail() -> None:
    database = MemoryDatabase()
    async with memory_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, buy("2", "3")))
        before = running.everything()
    async with memory_shard(database) as again:
        assert again.everything() == before
        assert again.shard.status().tail_rows_recovered >= 1


async def test_marks_show_after_a_revaluation_and_reach_the_mirror() -> None:
    mirror = MemoryMirror()
    async with memory_shard(MemoryDatabase(), mirror=mirror) as running:
        await running.book(opened(1))
        book = await running.book(updated(1, buy("2", "3")))
        running.shard.show_marks({X: Mark(Decimal("4.00000000"), minutes(10**6))})
        await eventually(lambda: b'"total_value":2.00' in _state(mirror))
        documents = running.shard.books.documents(portfolio(1))
        assert (documents.version, documents.revaluation > 0) == (book.version, True)


async def test_marks_that_cannot_be_read_now_are_read_later() -> None:
    database = MemoryDatabase()
    async with memory_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, buy("2", "3")))
        store = running.shard._marks
        store.failures = [ShardUnavailable("away")] * 2  # type: ignore[attr-defined]
        await store.record({X: Mark(Decimal("4.00000000"), minutes(10**6))})
        await eventually(lambda: b'"total_value":2.00' in running.shard.books.documents(portfolio(1)).state)
        assert not running.life.done()


async def test_a_shard_that_fails_on_the_way_refuses_everything(running: RunningShard) -> None:
    await running.book(opened(1))
    assert isinstance(running.journal, MemoryJournal)
    running.journal.failures.append(Corrupt("a row that cannot be"))
    await asyncio.gather(running.shard.submit(updated(1)), return_exceptions=True)
    assert isinstance(await running.stopped(), Corrupt)
    with pytest.raises(ShardUnavailable, match="a row that cannot be"):
        _ = running.shard.books
    status = running.shard.status()
    assert (status.phase, status.reason) == (Phase.STOPPED, "a row that cannot be")


async def test_a_corrupt_journal_is_named_in_the_status() -> None:
    database = MemoryDatabase()
    async with memory_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1))
        shard = running.shard
        await running.kill()
        del database.shards[SHARD].rows[0]
        with pytest.raises(Corrupt):
            await shard.start()
    assert shard.status().phase is Phase.STOPPED


async def test_a_portfolio_of_another_shard_is_refused() -> None:
    async with memory_shard(MemoryDatabase(), shard_id=1, shard_count=2) as running:
        mine = next(number for number in range(9) if _is_of(number, 1))
        other = next(number for number in range(9) if _is_of(number, 0))
        await running.book(opened(mine))
        with pytest.raises(WrongShard) as caught:
            running.shard.submit(opened(other))
        assert caught.value.cause == {"shard": 0, "modulus": 2}
        with pytest.raises(WrongShard):
            running.shard.books_with(portfolio(other))


def _is_of(number: int, shard: int) -> bool:
    return shard_of(portfolio(number), 2) == shard


async def test_status_says_how_it_is_doing(running: RunningShard) -> None:
    await running.book(opened(1, cash="5"))
    await eventually(lambda: running.shard.status().announced_seq == 2)
    status = running.shard.status()
    assert (status.phase, status.portfolios, status.head_seq, status.commits, status.rows) == (
        Phase.SERVING,
        1,
        2,
        1,
        2,
    )
    assert status.memory_mb > 1


def _state(mirror: MemoryMirror) -> bytes:
    shown = mirror.pictures.get(portfolio(1))
    return b"" if shown is None else shown.state
