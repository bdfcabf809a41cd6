"""A book that cannot be trusted is set apart, made anew from its rows if they are sound, and never stops the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from actors.protocol import Method, PageQuestion, PortfolioQuestion, UpdateOutcome, pack
from actors.recovery import Recovery
from actors.service import Service
from actors.shard_status import QUARANTINED_SHOWN_MAX
from portfolio.commands import ChangeStatus, Command
from portfolio.entries import Booked
from portfolio.errors import Corrupt, Deposed, PortfolioQuarantined, ShardUnavailable, WrongShard
from portfolio.ids import ShardId
from portfolio.ports import StoredRow
from portfolio.sharding import shard_of
from portfolio.status import Status
from tests.oracles.builders import buy, deposit
from tests.oracles.memory_store import (
    MemoryCheckpointStore,
    MemoryDatabase,
    MemoryJournal,
    MemoryMarkStore,
    MemoryMirror,
    StoredShard,
)
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, eventually, memory_shard

SHARD = ShardId(0)


@pytest.fixture
async def database() -> MemoryDatabase:
    """Two portfolios of three rows each, of which the checkpoint knows nothing."""
    made = MemoryDatabase()
    async with memory_shard(made) as running:
        for command in (opened(1), opened(2), updated(1, key="k"), updated(2), updated(1, buy("2", "3")), updated(2)):
            await running.book(command)
    return made


def _spoiled(row: StoredRow) -> StoredRow:
    assert isinstance(row.entry, Booked)
    return replace(row, entry=replace(row.entry, value=row.entry.value + 1))


def _spoil(database: MemoryDatabase, seq: int, how: Callable[[StoredRow], StoredRow] = _spoiled) -> StoredRow:
    """Change a row; gives it as it was."""
    rows = database.shards[SHARD].rows
    before, rows[seq - 1] = rows[seq - 1], how(rows[seq - 1])
    return before


async def _save(running: RunningShard) -> None:
    serving = running.shard._serving
    assert serving is not None
    await serving.checkpointer.save()


async def test_one_damaged_row_sets_one_portfolio_apart_and_the_others_are_served(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        assert [book.portfolio_id for book in running.shard.books] == [portfolio(2)]
        assert (await running.book(updated(2))).version == 4
        status = running.shard.status()
        assert (status.portfolios, status.quarantined_count) == (1, 1)
        assert status.quarantined == {portfolio(1): "journal row 3 does not match its hash"}
    assert database.quarantine == {portfolio(1): (SHARD, "journal row 3 does not match its hash")}


@pytest.mark.parametrize(
    "command",
    [
        opened(1),
        updated(1),
        pytest.param(updated(1, key="k"), id="a repeat"),
        ChangeStatus(portfolio_id=portfolio(1), status=Status.SUSPENDED),
    ],
)
async def test_every_write_is_refused(database: MemoryDatabase, command: Command) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        rows = len(database.shards[SHARD].rows)
        with pytest.raises(PortfolioQuarantined) as refused:
            await running.book(command)
        assert refused.value.cause["portfolio_id"] == portfolio(1)
        assert len(database.shards[SHARD].rows) == rows


async def test_every_read_is_refused_and_the_list_leaves_it_out(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        service = Service(running.shard)
        for method in (Method.STATE, Method.POSITIONS, Method.BOOK, Method.REBUILD):
            answer = await service.answer(method, pack(PortfolioQuestion(portfolio(1))))
            assert answer.fault is not None
            assert answer.fault.code == "portfolio-quarantined"
        page = (await service.answer(Method.PAGE, pack(PageQuestion(1, "", 10)))).raised()
        assert b'"P-2"' in (page.body or b"")
        assert b'"P-1"' not in (page.body or b"")


async def test_it_is_among_the_ids_of_all(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        ids = running.shard.books.ids_following
        assert ids("", 10) == [portfolio(1), portfolio(2)]
        assert ids("", 1) == [portfolio(1)]
        assert ids(portfolio(1), 10) == [portfolio(2)]


async def test_among_many_updates_only_its_own_fail(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        commands = [updated(1), updated(2), updated(1), updated(2)]
        answer = (await Service(running.shard).answer(Method.UPDATE_MANY, pack(commands))).raised()
        outcomes = msgspec.msgpack.decode(answer.body or b"", type=list[UpdateOutcome])
    assert [outcome.version for outcome in outcomes] == [None, 4, None, 5]
    assert {outcome.fault.code for outcome in outcomes if outcome.fault} == {"portfolio-quarantined"}


async def test_it_stays_apart_after_the_checkpoint_has_passed_it_by(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        await running.stop()
    assert database.shards[SHARD].checkpoint_seq == 6
    async with memory_shard(database) as again:
        assert again.shard.status().tail_rows_recovered == 0
        with pytest.raises(PortfolioQuarantined):
            again.shard.books.get(portfolio(1))


async def test_a_row_that_was_mended_is_taken_at_the_next_start(database: MemoryDatabase) -> None:
    before = _spoil(database, 3)
    async with memory_shard(database) as running:
        await running.stop()
    database.shards[SHARD].rows[2] = before
    mirror = MemoryMirror()
    async with memory_shard(database, mirror=mirror) as again:
        assert again.shard.books.get(portfolio(1)).version == 3
        assert again.shard.status().quarantined_count == 0
        # Until the checkpoint has the book, a crash must not lose sight of it.
        assert portfolio(1) in database.quarantine
        await _save(again)
        assert database.quarantine == {}
        await eventually(lambda: any(b'"P-1"' in event for event in mirror.events))
    async with memory_shard(database) as third:
        assert third.shard.books.get(portfolio(1)).version == 3


async def test_a_rebuild_lifts_the_quarantine_once_the_row_is_mended(database: MemoryDatabase) -> None:
    before = _spoil(database, 3)
    mirror = MemoryMirror()
    async with memory_shard(database, mirror=mirror) as running:
        service = Service(running.shard)
        _spoil(database, 3)
        refused = await service.answer(Method.REBUILD, pack(PortfolioQuestion(portfolio(1))))
        assert refused.fault is not None
        assert refused.fault.code == "portfolio-quarantined"
        database.shards[SHARD].rows[2] = before
        lifted = (await service.answer(Method.REBUILD, pack(PortfolioQuestion(portfolio(1))))).raised()
        assert b'"version":3' in (lifted.body or b"")
        assert (await running.book(updated(1))).version == 4
        assert (await running.shard.submit(updated(1, key="k"))).replayed
        await eventually(lambda: any(b'"P-1"' in event for event in mirror.events))
        await _save(running)
        assert database.quarantine == {}
        before_restart = running.everything()
    async with memory_shard(database) as again:
        assert again.everything() == before_restart


async def test_a_crash_between_the_lift_and_the_checkpoint_loses_nothing(database: MemoryDatabase) -> None:
    before = _spoil(database, 3)
    async with memory_shard(database) as running:
        await running.stop()
    async with memory_shard(database) as running:
        database.shards[SHARD].rows[2] = before
        await running.shard.rebuild(portfolio(1))
        await running.book(updated(1))
    async with memory_shard(database) as again:
        assert again.shard.books.get(portfolio(1)).version == 4


async def test_rebuilds_at_the_same_time_do_not_undo_what_followed_the_first(database: MemoryDatabase) -> None:
    before = _spoil(database, 3)
    async with memory_shard(database) as running:
        database.shards[SHARD].rows[2] = before
        await asyncio.gather(*(_rebuilt_and_booked(running) for _ in range(5)))
        assert running.shard.books.get(portfolio(1)).version == 8


async def _rebuilt_and_booked(running: RunningShard) -> None:
    await running.shard.rebuild(portfolio(1))
    await running.book(updated(1))


async def test_a_rebuild_of_a_sound_portfolio_changes_nothing(database: MemoryDatabase) -> None:
    async with memory_shard(database) as running:
        book = running.shard.books.get(portfolio(1))
        await running.shard.rebuild(portfolio(1))
        assert running.shard.books.get(portfolio(1)) is book


def _wrong_cash(stored: StoredShard) -> None:
    book = stored.books[portfolio(1)]
    stored.books[portfolio(1)] = replace(book, cash=book.cash + 1)


def _no_number(stored: StoredShard) -> None:
    stored.books[portfolio(1)] = replace(stored.books[portfolio(1)], cash=Decimal("NaN"))


def _stale(stored: StoredShard) -> None:
    stored.books[portfolio(1)] = replace(stored.books[portfolio(1)], version=1)


def _gone(stored: StoredShard) -> None:
    del stored.books[portfolio(1)]


def _unreadable(stored: StoredShard) -> None:
    stored.unreadable[portfolio(1)] = "its status is none"


@pytest.mark.parametrize("spoil", [_wrong_cash, _no_number, _stale, _gone, _unreadable])
async def test_a_wrong_checkpoint_heals_by_itself(
    database: MemoryDatabase, spoil: Callable[[StoredShard], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with memory_shard(database) as running:
        await _save(running)
        await running.book(updated(1))
        before = running.everything()
    spoil(database.shards[SHARD])
    async with memory_shard(database) as again:
        assert again.everything() == before
        assert "P-1 was made anew" in caplog.text
        await _save(again)
    assert database.quarantine == {}
    caplog.clear()
    async with memory_shard(database) as third:
        assert third.everything() == before
        assert "made anew" not in caplog.text


async def test_a_book_without_rows_is_set_apart(database: MemoryDatabase) -> None:
    async with memory_shard(database) as running:
        await running.stop()
    stored = database.shards[SHARD]
    book = stored.books[portfolio(1)]
    stored.books[portfolio(3)] = replace(book, portfolio_id=portfolio(3), cash=book.cash + 1)
    async with memory_shard(database) as again:
        assert list(again.shard.status().quarantined) == [portfolio(3)]


async def test_a_row_that_says_it_is_another_portfolios_stops_the_shard(database: MemoryDatabase) -> None:
    """Else that other portfolio would be set apart, and the one that lacks the row be served without it."""
    _spoil(database, 5, lambda row: replace(row, entry=replace(row.entry, portfolio_id=portfolio(2), version=9)))
    with pytest.raises(Corrupt, match="another portfolio"):
        async with memory_shard(database):
            pass


async def test_rows_that_changed_places_set_their_portfolio_apart(database: MemoryDatabase) -> None:
    rows = database.shards[SHARD].rows
    rows[2], rows[4] = replace(rows[2], entry=rows[4].entry), replace(rows[4], entry=rows[2].entry)
    async with memory_shard(database) as running:
        assert list(running.shard.status().quarantined) == [portfolio(1)]


async def test_a_row_that_is_missing_stops_the_shard(database: MemoryDatabase) -> None:
    del database.shards[SHARD].rows[2]
    with pytest.raises(Corrupt):
        async with memory_shard(database):
            pass


async def test_a_shard_that_cannot_write_down_what_it_sets_apart_does_not_serve(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    async with memory_shard(database) as running:
        await running.kill()
        database.quarantine.clear()
        running.shard._serving = None
        running.shard._checkpoints.failures.append(ShardUnavailable("Postgres is away"))  # type: ignore[attr-defined]
        with pytest.raises(ShardUnavailable):
            await running.shard.start()
        with pytest.raises(ShardUnavailable):
            _ = running.shard.books
        await running.shard.start()
        assert list(database.quarantine) == [portfolio(1)]


async def test_a_deposed_claimant_sets_nothing_apart(database: MemoryDatabase) -> None:
    _spoil(database, 3)
    journal = MemoryJournal(database, SHARD, "slow")
    claim = await journal.claim()
    await MemoryJournal(database, SHARD, "another").claim()
    checkpoints, marks = MemoryCheckpointStore(database, SHARD), MemoryMarkStore(database)
    with pytest.raises(Deposed):
        await Recovery(shard_id=SHARD, journal=journal, checkpoints=checkpoints, marks=marks, limits=FAST).complete(
            claim
        )
    assert database.quarantine == {}


async def test_a_status_names_a_bounded_number() -> None:
    database = MemoryDatabase()
    count = QUARANTINED_SHOWN_MAX + 5
    async with memory_shard(database) as running:
        for number in range(count + 1):
            await running.book(opened(number, cash="1"))
    # The first may be in the checkpoint, whose rows are not looked at again.
    for number in range(1, count + 1):
        _spoil(database, 2 * number + 2)
    async with memory_shard(database) as again:
        status = again.shard.status()
        assert (status.quarantined_count, len(status.quarantined)) == (count, QUARANTINED_SHOWN_MAX)


async def test_what_was_booked_long_ago_is_not_decided_anew_after_a_lift(database: MemoryDatabase) -> None:
    before = _spoil(database, 3)
    async with memory_shard(database) as running:
        database.shards[SHARD].rows[2] = before
        await running.shard.rebuild(portfolio(1))
        outcome = await running.shard.submit(updated(1, key="k"))
        assert (outcome.replayed, outcome.book.version) == (True, 3)
        assert (await running.book(updated(1, deposit("5"), key="fresh"))).version == 4


async def test_those_that_go_with_a_split_are_set_apart_in_their_new_shard(database: MemoryDatabase) -> None:
    going, staying = (next(n for n in range(9, 99) if shard_of(portfolio(n), 2) == half) for half in (1, 0))
    async with memory_shard(database) as running:
        await running.book(updated(1))
        for number in (going, staying):
            await running.book(opened(number, cash="1"))
    # A checkpoint may have come by itself after the first booking; the rows after that one are replayed.
    seqs = {row.entry.portfolio_id: row.seq for row in database.shards[SHARD].rows}
    spoiled = {number: _spoil(database, seqs[portfolio(number)]) for number in (going, staying)}
    async with memory_shard(database) as running:
        await running.shard.split(2)
        assert list(running.shard.status().quarantined) == [portfolio(staying)]
        with pytest.raises(WrongShard):
            await running.shard.rebuild(portfolio(going))
    async with memory_shard(database, shard_id=1) as branch:
        assert list(branch.shard.status().quarantined) == [portfolio(going)]
        database.shards[SHARD].rows[seqs[portfolio(going)] - 1] = spoiled[going]
        await branch.shard.rebuild(portfolio(going))
        assert (await branch.book(updated(going))).version == 3
