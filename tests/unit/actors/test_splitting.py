"""A shard splits: two halves that are disjoint and whole, which remember and announce what the one before them did."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from actors.pacing import Pacer
from actors.protocol import Method, PageQuestion, pack
from actors.service import Service
from actors.shard_status import Phase
from portfolio.book import Mark
from portfolio.errors import (
    Deposed,
    IdempotencyKeyReused,
    InvalidRequest,
    PortfolioError,
    ShardUnavailable,
    WrongShard,
)
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of
from tests.oracles.builders import X, buy, deposit, minutes, sell
from tests.oracles.memory_store import HangingMirror, MemoryDatabase, MemoryJournal, MemoryMirror
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, announced, eventually, idle_memory_shard, memory_shard

COUNT = 24
Everything = dict[PortfolioId, tuple[str, bytes, bytes, bytes]]


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def numbers_of(shard_id: int, modulus: int) -> list[int]:
    """The portfolios of a shard among those that the tests open."""
    return [number for number in range(COUNT) if shard_of(portfolio(number), modulus) == shard_id]


STAYING, GOING = numbers_of(0, 2)[0], numbers_of(1, 2)[0]


async def fill(running: RunningShard) -> None:
    """Open every portfolio, with a key for each purchase."""
    for number in range(COUNT):
        await running.book(opened(number, key="open", cash="100"))
        await running.book(updated(number, buy("3", "7.00000001"), key="k"))


async def split_twice(database: MemoryDatabase) -> None:
    """From one shard to four, with something booked before, between and after."""
    async with memory_shard(database) as first:
        await fill(first)
        await first.shard.split(2)
        async with memory_shard(database, shard_id=1) as second:
            for number, half in ((n, first if n in numbers_of(0, 2) else second) for n in range(COUNT)):
                await half.book(updated(number, sell("1", "8"), key="between"))
            await asyncio.gather(first.shard.split(4), second.shard.split(4))


@contextlib.asynccontextmanager
async def shards(database: MemoryDatabase, *shard_ids: int) -> AsyncIterator[list[RunningShard]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(memory_shard(database, shard_id=shard_id)) for shard_id in shard_ids]


def united(running: Sequence[RunningShard]) -> Everything:
    """What the shards have together. Fails if two have the same portfolio."""
    parts = [shard.everything() for shard in running]
    assert sum(map(len, parts)) == len({name for part in parts for name in part})
    return {name: found for part in parts for name, found in part.items()}


async def test_the_halves_are_disjoint_and_whole(database: MemoryDatabase) -> None:
    async with memory_shard(database) as parent:
        await fill(parent)
        await parent.book(updated(GOING, sell("1", "8")))
        before = parent.everything()
        await parent.shard.split(2)
        assert sorted(parent.everything()) == sorted(map(portfolio, numbers_of(0, 2)))
        async with memory_shard(database, shard_id=1) as child:
            assert sorted(child.everything()) == sorted(map(portfolio, numbers_of(1, 2)))
            assert united([parent, child]) == before
            assert (parent.shard.status().modulus, child.shard.status().modulus) == (2, 2)
            assert (await child.book(updated(GOING))).version == 5
            assert (await parent.book(updated(STAYING))).version == 4
            assert parent.shard.status().head_seq == child.shard.status().head_seq == 3 * COUNT + 2


async def test_neither_half_takes_what_is_the_others(database: MemoryDatabase) -> None:
    async with memory_shard(database) as parent:
        await fill(parent)
        await parent.shard.split(2)
        async with memory_shard(database, shard_id=1) as child:
            for shard, number in ((parent, GOING), (child, STAYING)):
                with pytest.raises(WrongShard) as caught:
                    shard.shard.submit(updated(number))
                assert caught.value.cause["modulus"] == 2
                with pytest.raises(WrongShard):
                    shard.shard.books_with(portfolio(number))


async def test_keys_of_before_the_split_are_known_in_both(database: MemoryDatabase) -> None:
    async with memory_shard(database) as parent:
        await fill(parent)
        await parent.shard.split(2)
        async with memory_shard(database, shard_id=1) as child:
            for shard, number in ((parent, STAYING), (child, GOING)):
                version = shard.shard.books.get(portfolio(number)).version
                outcome = await shard.shard.submit(updated(number, buy("3", "7.00000001"), key="k"))
                assert (outcome.replayed, outcome.book.version) == (True, version)
                with pytest.raises(IdempotencyKeyReused):
                    await shard.shard.submit(updated(number, deposit("5"), key="k"))
                # Decided anew, it would be refused.
                assert (await shard.shard.submit(opened(number, key="open", cash="100"))).replayed


async def test_events_of_what_has_gone_are_the_new_shards_to_announce(database: MemoryDatabase) -> None:
    before, after = MemoryMirror(), MemoryMirror()
    before.is_down = True
    async with memory_shard(database, mirror=before) as parent:
        for number in (STAYING, GOING):
            await parent.book(opened(number))
            await parent.book(updated(number))
        await parent.shard.split(2)
        before.is_down = False
        async with memory_shard(database, shard_id=1, mirror=after) as child:
            await child.book(updated(GOING))
            await eventually(lambda: announced(after) == [(portfolio(GOING), 2), (portfolio(GOING), 3)])
            await eventually(lambda: announced(before) == [(portfolio(STAYING), 1), (portfolio(STAYING), 2)])
            assert parent.shard.status().announced_seq == 4
            assert list(after.pictures) == [portfolio(GOING)]


async def test_events_that_wait_while_a_shard_splits_are_told_once_and_in_order(database: MemoryDatabase) -> None:
    mirror = HangingMirror()
    async with memory_shard(database, mirror=mirror) as parent:
        await parent.book(opened(GOING))
        await mirror.asked.wait()
        splitting = asyncio.ensure_future(parent.shard.split(2))
        await asyncio.sleep(0.02)
        # Redis holds up the split, which holds up nobody yet.
        await parent.book(updated(GOING))
        assert not splitting.done()
        mirror.gate.set()
        await splitting
        await asyncio.sleep(0.02)
        assert announced(mirror) == [(portfolio(GOING), 1)]
        async with memory_shard(database, shard_id=1, mirror=mirror) as child:
            await child.book(updated(GOING))
            await eventually(lambda: announced(mirror)[-1] == (portfolio(GOING), 3))
        versions = [version for _, version in announced(mirror)]
        assert versions == sorted(versions)


async def test_what_was_never_announced_survives_two_splits(database: MemoryDatabase) -> None:
    """The rows are in the journal of the shard from which the last one's parent came."""
    silent, heard = MemoryMirror(), MemoryMirror()
    silent.is_down = True
    going = numbers_of(3, 4)[0]
    async with memory_shard(database, mirror=silent) as first:
        await first.book(opened(going))
        await first.shard.split(2)
        async with memory_shard(database, shard_id=1, mirror=silent) as second:
            await second.shard.split(4)
    async with memory_shard(database, shard_id=3, mirror=heard):
        await eventually(lambda: announced(heard) == [(portfolio(going), 1)])


async def test_marks_are_known_to_both(database: MemoryDatabase) -> None:
    async with memory_shard(database) as parent:
        await fill(parent)
        mark = {X: Mark(Decimal("9.00000000"), minutes(10**6))}
        await parent.shard.record_marks(mark)
        parent.shard.show_marks(mark)
        await eventually(lambda: b'"mark_price":9.00000000' in _state(parent, GOING))
        await parent.shard.split(2)
        async with memory_shard(database, shard_id=1) as child:
            assert b'"mark_price":9.00000000' in _state(child, GOING)
            later = {X: Mark(Decimal("10.00000000"), minutes(10**6 + 1))}
            await parent.shard.record_marks(later)
            for shard, number in ((parent, STAYING), (child, GOING)):
                shard.shard.show_marks(later)
                await eventually(lambda s=shard, n=number: b'"mark_price":10.00000000' in _state(s, n))  # type: ignore[misc]
            await parent.save()
            await child.save()


def _state(running: RunningShard, number: int) -> bytes:
    return running.shard.books.documents(portfolio(number)).state


@pytest.mark.parametrize("way", ["as they were killed", "checkpoint", "bare journal"])
async def test_four_that_came_of_one_recover(database: MemoryDatabase, way: str) -> None:
    await split_twice(database)
    ids = (0, 1, 2, 3)
    async with shards(database, *ids) as four:
        before = united(four)
        assert sorted(before) == sorted(map(portfolio, range(COUNT)))
        for number in range(COUNT):
            found = await four[shard_of(portfolio(number), 4)].book(updated(number, buy("2", "9"), key="after"))
            assert found.version == 5
        before = united(four)
        if way == "checkpoint":
            await asyncio.gather(*(shard.stop() for shard in four))
    if way == "bare journal":
        for stored in database.shards.values():
            stored.books, stored.checkpoint_seq = {}, 0
    for _ in range(2):
        async with shards(database, *ids) as four:
            assert united(four) == before
            for number in range(COUNT):
                owner = four[shard_of(portfolio(number), 4)].shard
                for key, item in (("k", buy("3", "7.00000001")), ("between", sell("1", "8")), ("after", buy("2", "9"))):
                    assert (await owner.submit(updated(number, item, key=key))).replayed
            # What is saved now is what the next ones begin with.
            await asyncio.gather(*(shard.save() for shard in four))


async def test_a_split_that_has_been_is_not_repeated(database: MemoryDatabase) -> None:
    async with memory_shard(database) as parent:
        await fill(parent)
        await parent.shard.split(2)
        await parent.shard.split(2)
        assert sorted(database.shards) == [0, 1]
        for wrong in (1, 3, 8):
            with pytest.raises(InvalidRequest):
                await parent.shard.split(wrong)


async def test_a_split_that_does_not_come_to_rest_changes_nothing(database: MemoryDatabase) -> None:
    async with memory_shard(database, limits=replace(FAST, standstill_timeout_s=0.1)) as parent:
        assert isinstance(parent.journal, MemoryJournal)
        await fill(parent)
        before = parent.everything()
        parent.journal.gate.clear()
        held = parent.shard.submit(updated(GOING))
        with pytest.raises(ShardUnavailable, match="takes too long"):
            await parent.shard.split(2)
        parent.journal.gate.set()
        assert (await held).book.version == 4
        assert parent.everything().keys() == before.keys()
        assert list(database.shards) == [0]
        parent.shard._limits = FAST
        await parent.shard.split(2)


class SlowSplit:
    """Holds up the answer to a split that is done, or refuses it."""

    def __init__(self, journal: MemoryJournal, error: PortfolioError | None = None) -> None:
        self._split = journal.split
        self._error = error
        self.done = asyncio.Event()
        self.answer = asyncio.Event()

    async def __call__(self, moving: Sequence[PortfolioId], actor: str) -> None:
        if self._error is None:
            await self._split(moving, actor)
        self.done.set()
        await self.answer.wait()
        if self._error is not None:
            raise self._error


async def test_nobody_reads_from_the_old_half_what_the_new_one_may_be_writing(
    database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split is durable, and its answer on the way: the new shard serves already."""
    async with memory_shard(database) as parent:
        assert isinstance(parent.journal, MemoryJournal)
        await fill(parent)
        slow = SlowSplit(parent.journal)
        monkeypatch.setattr(parent.journal, "split", slow)
        splitting = asyncio.ensure_future(parent.shard.split(2))
        await slow.done.wait()
        async with memory_shard(database, shard_id=1) as child:
            assert (await child.book(updated(GOING))).version == 4
            with pytest.raises(ShardUnavailable) as caught:
                parent.shard.books_with(portfolio(GOING))
            assert caught.value.cause == {"shard": 0, "moving": True}
            page = await Service(parent.shard).answer(Method.PAGE, pack(PageQuestion(1, "", 100, None)))
            assert page.fault is not None
            assert page.fault.cause == {"shard": 0, "moving": True}
            assert parent.shard.books_with(portfolio(STAYING)).get(portfolio(STAYING)).version == 3
            slow.answer.set()
            await splitting
            with pytest.raises(WrongShard):
                parent.shard.books_with(portfolio(GOING))


@pytest.mark.parametrize("error", [ShardUnavailable("no answer"), Deposed("another owns it")])
async def test_a_split_that_fails_is_as_if_it_had_never_been(
    database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch, error: PortfolioError
) -> None:
    async with memory_shard(database) as parent:
        assert isinstance(parent.journal, MemoryJournal)
        await fill(parent)
        before = parent.everything()
        slow = SlowSplit(parent.journal, error)
        slow.answer.set()
        monkeypatch.setattr(parent.journal, "split", slow)
        with pytest.raises(type(error)):
            await parent.shard.split(2)
        assert parent.everything() == before
        if isinstance(error, Deposed):
            # Whether it was done, only the other owner knows.
            with pytest.raises(ShardUnavailable):
                parent.shard.submit(updated(GOING))
        else:
            assert (await parent.book(updated(GOING))).version == 4
        assert (await parent.book(updated(STAYING))).version == 4


class HeldPacer(Pacer):
    """Due after every step; whoever rests goes on when let."""

    def __init__(self) -> None:
        super().__init__(slice_ms=0.0)
        self.resting = asyncio.Event()
        self.let = asyncio.Event()

    async def rest(self) -> None:
        self.resting.set()
        await self.let.wait()


async def test_a_page_that_a_split_passes_through_is_asked_for_again(
    database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is cut into slices, and half of its portfolios go between two of them."""
    async with memory_shard(database) as parent:
        await fill(parent)
        service = Service(parent.shard)
        pacer = HeldPacer()
        monkeypatch.setattr(parent.shard, "pacer", lambda: pacer)
        paging = asyncio.ensure_future(service.answer(Method.PAGE, pack(PageQuestion(1, "", 100, None))))
        await pacer.resting.wait()
        await parent.shard.split(2)
        pacer.let.set()
        page = await paging
        assert page.body is None
        assert page.fault is not None
        assert page.fault.code == WrongShard.code


async def test_no_checkpoint_of_the_old_half_reaches_what_has_gone(
    database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_shard(database) as parent:
        assert isinstance(parent.journal, MemoryJournal)
        await fill(parent)
        slow = SlowSplit(parent.journal)
        monkeypatch.setattr(parent.journal, "split", slow)
        splitting = asyncio.ensure_future(parent.shard.split(2))
        await slow.done.wait()
        assert parent.shard._serving is not None
        parent.shard._serving.checkpointer.rebuilt(map(portfolio, (STAYING, GOING)))
        saving = asyncio.ensure_future(parent.save())
        await asyncio.sleep(0.02)
        slow.answer.set()
        await asyncio.gather(splitting, saving)
        assert sorted(database.shards[ShardId(0)].books) == sorted(map(portfolio, numbers_of(0, 2)))
        assert parent.shard.status().phase is Phase.SERVING


async def test_what_was_read_ahead_before_a_split_is_no_ground_after_it(database: MemoryDatabase) -> None:
    """A successor that was forgotten stood by while its shard split; half of what it knows is another's."""
    heir = idle_memory_shard(database)
    async with memory_shard(database) as parent:
        await fill(parent)
        await heir.shard.read_ahead()
        await parent.shard.split(2)
        before = parent.everything()
        await heir.shard.read_ahead()
        await parent.shard.hand_over("shard-0.1")
    async with heir.serving() as new, memory_shard(database, shard_id=1) as child:
        assert new.everything() == before
        assert sorted(united([new, child])) == sorted(map(portfolio, range(COUNT)))


async def test_a_new_shard_that_is_not_there_yet_is_waited_for(database: MemoryDatabase) -> None:
    heir = idle_memory_shard(database, shard_id=1)
    with contextlib.suppress(PortfolioError):
        await heir.shard.read_ahead()
    with pytest.raises(ShardUnavailable) as caught:
        heir.shard.submit(updated(GOING))
    assert caught.value.cause == {"shard": 1, "moving": True}


async def test_a_busy_shard_splits_between_two_batches(database: MemoryDatabase) -> None:
    """Writers that go on asking whoever has their portfolio get every version once."""
    versions: dict[int, list[int]] = defaultdict(list)
    async with memory_shard(database) as parent:
        await fill(parent)
        owners = [parent]

        async def write(number: int) -> None:
            while len(versions[number]) < 30:
                owner = owners[shard_of(portfolio(number), len(owners))]
                try:
                    versions[number].append((await owner.shard.submit(updated(number))).book.version)
                except (ShardUnavailable, WrongShard):
                    await asyncio.sleep(0)

        writing = asyncio.gather(*map(write, range(COUNT)))
        await asyncio.sleep(0.01)
        await parent.shard.split(2)
        async with memory_shard(database, shard_id=1) as child:
            owners.append(child)
            await asyncio.wait_for(writing, 30)
    assert all(found == list(range(4, 34)) for found in versions.values())
