"""The single writer of a shard, on a journal in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from actors.books import Books
from actors.lease import Lease
from actors.recent_keys import RecentKeys
from actors.settings import Limits
from actors.writer import Outcome, Writer
from portfolio.book import Book
from portfolio.commands import ChangeStatus, Command
from portfolio.errors import (
    Corrupt,
    Deposed,
    IdempotencyKeyReused,
    InsufficientPosition,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    PortfolioError,
    PortfolioExists,
    PortfolioNotFound,
    ShardUnavailable,
    VersionMismatch,
)
from portfolio.ids import IdempotencyKey, ShardId
from portfolio.ports import DuplicateKeys
from portfolio.status import Status
from tests.oracles.builders import NOW, buy, deposit, sell, transaction
from tests.oracles.memory_store import MemoryDatabase, MemoryJournal
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import exactly


class Desk:
    """A running writer with everything it works on. Its clock stands at NOW unless a test moves it."""

    def __init__(
        self, limits: Limits, database: MemoryDatabase | None = None, books: Sequence[Book] = (), keys_max: int = 100
    ) -> None:
        self.database = database or MemoryDatabase()
        self.journal = MemoryJournal(self.database, ShardId(0), f"desk {id(self)}")
        self.books = Books({book.portfolio_id: book for book in books}, {})
        self.keys = RecentKeys(keys_max)
        self.keys.is_complete = not self.database.shards[ShardId(0)].rows
        self.committed: list[tuple[list[int], int]] = []
        self.now = NOW
        self.writer = Writer(
            books=self.books,
            journal=self.journal,
            keys=self.keys,
            lease=Lease(limits.lease_s),
            limits=limits,
            committed=lambda changed, rows: self.committed.append(([book.version for book in changed], rows)),
            clock=lambda: self.now,
        )
        self.life: asyncio.Task[None] = asyncio.ensure_future(self._live())

    async def _live(self) -> None:
        await self.journal.claim()
        await self.writer.run()

    async def ask(self, *commands: Command) -> list[Outcome | BaseException]:
        """What becomes of commands that are queued at once."""
        return await asyncio.gather(*map(self.submitted, commands), return_exceptions=True)

    async def submitted(self, command: Command) -> Outcome:
        """The outcome of one command. Raises why it is not booked."""
        return await self.writer.submit(command)

    async def held(self, *commands: Command) -> list[asyncio.Future[Outcome]]:
        """Commands of one batch that is at the journal, which does not answer before its gate is opened."""
        self.journal.gate.clear()
        answers = [self.writer.submit(command) for command in commands]
        for _ in range(10):
            await asyncio.sleep(0)
        assert self.writer.queue_depth == 0
        return answers

    async def end(self) -> BaseException | None:
        """Cancel the writer, and say how it ended."""
        self.life.cancel()
        (error,) = await asyncio.gather(self.life, return_exceptions=True)
        return error if isinstance(error, BaseException) else None

    @property
    def versions(self) -> list[int]:
        """The versions in the journal."""
        return [row.entry.version for row in self.database.shards[ShardId(0)].rows]


@contextlib.asynccontextmanager
async def _desk(limits: Limits | None = None, **options: object) -> AsyncIterator[Desk]:
    desk = Desk(limits or Limits(), **options)  # type: ignore[arg-type]
    try:
        yield desk
    finally:
        await desk.end()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A writer with ordinary limits and nothing booked."""
    async with _desk() as made:
        yield made


def _books(outcomes: Sequence[Outcome | BaseException]) -> list[Book]:
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes
    return [outcome.book for outcome in outcomes if isinstance(outcome, Outcome)]


MIXED: Sequence[Command] = (
    opened(1, cash="100"),
    opened(2),
    updated(1, buy("3", "7.5"), sell("1", "8", fee="0.5")),
    updated(3),
    updated(2, transaction("WITHDRAWAL", "USD", "-5", "1")),
    opened(1),
    updated(1, deposit("1"), transaction("COVER", "X", "9", "1")),
    replace(updated(1), expected_version=4),
    replace(updated(1), expected_version=4),
    ChangeStatus(portfolio_id=portfolio(2), status=Status.SUSPENDED),
    updated(2),
)


async def test_a_batch_gives_what_the_same_commands_give_one_by_one() -> None:
    async with _desk() as together, _desk() as apart:
        batched = await together.ask(*MIXED)
        single = [(await apart.ask(command))[0] for command in MIXED]
        assert list(map(_shown, batched)) == list(map(_shown, single))
        assert {book.portfolio_id: exactly(book) for book in together.books} == {
            book.portfolio_id: exactly(book) for book in apart.books
        }
        assert together.versions == apart.versions
        assert len(together.journal.appends) == 1
        assert len(apart.journal.appends) > 3


def _shown(outcome: Outcome | BaseException) -> object:
    return (exactly(outcome.book), outcome.replayed) if isinstance(outcome, Outcome) else (type(outcome), str(outcome))


async def test_what_arrives_during_a_commit_shares_the_next_one(desk: Desk) -> None:
    await desk.ask(opened(1))
    first = await desk.held(updated(1))
    later = [desk.writer.submit(updated(1)) for _ in range(5)]
    desk.journal.gate.set()
    assert [outcome.book.version for outcome in await asyncio.gather(*first, *later)] == [2, 3, 4, 5, 6, 7]
    assert desk.journal.appends == [1, 1, 5]


async def test_an_outcome_is_the_book_right_after_its_own_command(desk: Desk) -> None:
    books = _books(await desk.ask(opened(1), updated(1, deposit("1")), updated(1, deposit("2"))))
    assert [(book.version, book.cash) for book in books] == [(1, Decimal(0)), (2, Decimal(1)), (3, Decimal(3))]


async def test_nothing_is_shown_or_acknowledged_before_the_commit(desk: Desk) -> None:
    await desk.ask(opened(1))
    (answer,) = await desk.held(updated(1))
    assert not answer.done()
    assert desk.books.get(portfolio(1)).version == 1
    assert len(desk.committed) == 1
    desk.journal.gate.set()
    assert (await answer).book is desk.books.get(portfolio(1))
    assert desk.committed[1] == ([2], 1)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (opened(1), PortfolioExists),
        (updated(2), PortfolioNotFound),
        (replace(updated(1), expected_version=2), VersionMismatch),
        (updated(1, deposit("1"), transaction("COVER", "X", "1", "1")), InsufficientPosition),
        (updated(1, deposit("NaN")), InvalidRequest),
        (updated(1, deposit("1e400")), InvalidRequest),
        (replace(opened(3), portfolio_name="a\0b"), InvalidRequest),
    ],
)
async def test_a_refused_command_changes_nothing_and_holds_up_no_other(
    desk: Desk, command: Command, error: type[PortfolioError]
) -> None:
    await desk.ask(opened(1))
    refused, booked = await desk.ask(command, updated(1))
    assert isinstance(refused, error)
    assert _books([booked])[0].version == 2
    assert desk.versions == [1, 2]


async def test_a_batch_of_refusals_alone_asks_nothing_of_the_journal(desk: Desk) -> None:
    desk.journal.failures.append(ShardUnavailable("it must not be asked"))
    (refused,) = await desk.ask(updated(1))
    assert isinstance(refused, PortfolioNotFound)
    assert desk.committed == []


async def test_a_repeat_books_nothing_and_answers_with_the_present_state(desk: Desk) -> None:
    await desk.ask(opened(1), updated(1, key="k"))
    await desk.ask(updated(1))
    (repeat,) = await desk.ask(updated(1, key="k"))
    assert isinstance(repeat, Outcome)
    assert repeat.replayed
    assert repeat.book.version == 3
    assert desk.versions == [1, 2, 3]


async def test_two_commands_with_one_key_in_one_batch_are_booked_once(desk: Desk) -> None:
    await desk.ask(opened(1))
    first, second, other = await desk.ask(updated(1, key="k"), updated(1, key="k"), updated(1, deposit("9"), key="k"))
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    assert (first.replayed, second.replayed) == (False, True)
    assert isinstance(other, IdempotencyKeyReused)
    assert desk.versions == [1, 2]


async def test_a_key_is_free_again_after_a_refusal(desk: Desk) -> None:
    refused, _, booked = await desk.ask(updated(1, key="k"), opened(1), updated(1, key="k"))
    assert isinstance(refused, PortfolioNotFound)
    assert isinstance(booked, Outcome)
    assert not booked.replayed


async def test_numbers_of_a_repeat_count_by_value(desk: Desk) -> None:
    await desk.ask(opened(1), updated(1, deposit("1"), key="k"))
    (repeat,) = await desk.ask(updated(1, deposit("1.00"), key="k"))
    assert isinstance(repeat, Outcome)
    assert repeat.replayed


async def test_a_key_of_another_portfolio_is_another_key(desk: Desk) -> None:
    outcomes = await desk.ask(opened(1, key="k"), opened(2, key="k"))
    assert [book.version for book in _books(outcomes)] == [1, 1]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0", "a\nb", "\ud800"])
async def test_a_key_that_cannot_be_stored_is_refused_at_once(desk: Desk, key: str) -> None:
    with pytest.raises(InvalidRequest):
        desk.writer.submit(replace(opened(1), idempotency_key=IdempotencyKey(key)))


async def test_a_transaction_id_is_booked_once(desk: Desk) -> None:
    given = uuid4()
    one = updated(1, transaction_id=given)
    first, second = (await desk.ask(opened(1), one, one))[1:]
    assert isinstance(first, Outcome)
    assert isinstance(second, InvalidRequest)
    first, again, other = await desk.ask(updated(1), one, updated(1))
    assert isinstance(again, InvalidRequest)
    assert again.cause == {"field": "transaction_id", "index": 0}
    assert [book.version for book in _books([first, other])] == [3, 4]


async def test_a_key_beyond_memory_is_found_before_a_command_is_refused() -> None:
    async with _desk() as before:
        await before.ask(
            opened(1, cash="50", key="open"), updated(1, buy("1", "1")), updated(1, sell("1", "1"), key="k")
        )
        books = list(before.books)
    no_short = [replace(book, allow_short=False) for book in books]
    async with _desk(database=before.database, books=no_short) as desk:
        # Without the key the sale would be refused: it was done, and nothing is left to sell.
        unknown, done, reopened, reused = await desk.ask(
            updated(1, sell("1", "1"), key="new"),
            updated(1, sell("1", "1"), key="k"),
            opened(1, cash="50", key="open"),
            updated(1, sell("2", "1"), key="k"),
        )
        assert isinstance(unknown, InsufficientPosition)
        assert isinstance(done, Outcome)
        assert isinstance(reopened, Outcome)
        assert done.replayed
        assert reopened.replayed
        assert isinstance(reused, IdempotencyKeyReused)
        assert desk.journal.questions == 1


async def test_a_key_beyond_memory_is_found_when_a_command_would_be_booked() -> None:
    async with _desk() as before:
        await before.ask(opened(1), updated(1, key="k"), updated(1, transaction_id=(given := uuid4())))
    async with _desk(database=before.database, books=list(before.books)) as desk:
        repeat, fresh, reused, taken = await desk.ask(
            updated(1, key="k"),
            updated(1),
            updated(1, deposit("2"), key="k"),
            updated(1, transaction_id=given),
        )
        assert isinstance(repeat, Outcome)
        assert repeat.replayed
        assert isinstance(fresh, Outcome)
        assert not fresh.replayed
        assert isinstance(reused, IdempotencyKeyReused)
        assert isinstance(taken, InvalidRequest)
        assert desk.versions == [1, 2, 3, 4]


async def test_a_caller_that_goes_away_cancels_nothing(desk: Desk) -> None:
    await desk.ask(opened(1))
    booking, refused = await desk.held(updated(1), updated(7))
    waiting = desk.writer.submit(updated(1))
    for answer in (booking, refused, waiting):
        answer.cancel()
    desk.journal.gate.set()
    (after,) = await desk.ask(updated(1))
    assert _books([after])[0].version == 4
    assert not desk.life.done()


async def test_a_full_queue_refuses_at_once_and_takes_commands_again_later() -> None:
    async with _desk(Limits(queue_commands_max=2)) as desk:
        await desk.ask(opened(1))
        (held,) = await desk.held(updated(1))
        queued = [desk.writer.submit(updated(1)) for _ in range(2)]
        with pytest.raises(Overloaded):
            desk.writer.submit(updated(1))
        desk.journal.gate.set()
        await asyncio.gather(held, *queued)
        assert _books(await desk.ask(updated(1)))[0].version == 5


async def test_rows_that_wait_are_bounded_too() -> None:
    async with _desk(Limits(queue_rows_max=5)) as desk:
        await desk.ask(opened(1))
        (held,) = await desk.held(updated(1))
        three = updated(1, deposit("1"), deposit("2"), deposit("3"))
        queued = desk.writer.submit(three)
        with pytest.raises(Overloaded):
            desk.writer.submit(three)
        desk.journal.gate.set()
        await asyncio.gather(held, queued)
        assert _books(await desk.ask(three))[0].version == 8


async def test_batches_are_bounded_in_rows_and_keep_the_order() -> None:
    async with _desk(Limits(batch_rows_max=4)) as desk:
        await desk.ask(opened(1))
        commands = [updated(1, *[deposit("1")] * rows) for rows in (3, 2, 2, 9, 1)]
        outcomes = await desk.ask(*commands)
        assert [book.version for book in _books(outcomes)] == [4, 6, 8, 17, 18]
        assert desk.journal.appends == [1, 3, 4, 9, 1]


async def test_a_command_that_waited_too_long_is_refused_unbooked() -> None:
    async with _desk(Limits(command_wait_s=0.2)) as desk:
        (held,) = await desk.held(opened(1))
        late = desk.writer.submit(updated(1))
        await asyncio.sleep(0.25)
        desk.journal.gate.set()
        await held
        with pytest.raises(ShardUnavailable, match="waited too long"):
            await late
        assert desk.versions == [1]


async def test_a_failed_append_fails_its_batch_and_changes_nothing(desk: Desk) -> None:
    await desk.ask(opened(1))
    desk.journal.failures.append(ShardUnavailable("the disk is full"))
    failed = await desk.ask(updated(1, key="k"), opened(2))
    assert {type(outcome) for outcome in failed} == {ShardUnavailable}
    assert [book.version for book in desk.books] == [1]
    # The keys of what failed are free.
    repeat, again = _books(await desk.ask(updated(1, key="k"), opened(2)))
    assert (repeat.version, again.version) == (2, 1)


async def test_a_journal_that_hides_the_keys_it_has_does_not_keep_the_writer_for_ever(desk: Desk) -> None:
    await desk.ask(opened(1))
    desk.journal.failures.extend(DuplicateKeys("a key that is not found") for _ in range(5))
    (failed,) = await desk.ask(updated(1, key="k"))
    assert isinstance(failed, ShardUnavailable)
    assert desk.versions == [1]


async def test_a_deposed_writer_refuses_what_waits_and_what_comes(desk: Desk) -> None:
    await desk.ask(opened(1))
    first, *_ = await desk.held(updated(1))
    queued = desk.writer.submit(updated(1))
    await MemoryJournal(desk.database, ShardId(0), "another").claim()
    desk.journal.gate.set()
    outcomes = await asyncio.gather(first, queued, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ShardUnavailable, ShardUnavailable]
    assert isinstance((await asyncio.gather(desk.life, return_exceptions=True))[0], Deposed)
    with pytest.raises(ShardUnavailable):
        desk.writer.submit(updated(1))
    assert desk.versions == [1]


async def test_a_writer_stopped_during_a_commit_does_not_say_that_nothing_was_booked(desk: Desk) -> None:
    await desk.ask(opened(1))
    (at_the_journal,) = await desk.held(updated(1))
    queued = desk.writer.submit(updated(1))
    await desk.end()
    with pytest.raises(OutcomeUnknown):
        await at_the_journal
    with pytest.raises(ShardUnavailable):
        await queued


async def test_a_journal_found_corrupt_during_a_commit_does_not_say_that_nothing_was_booked(desk: Desk) -> None:
    await desk.ask(opened(1))
    desk.journal.failures.append(Corrupt("the journal ends elsewhere"))
    (outcome,) = await desk.ask(updated(1))
    assert isinstance(outcome, OutcomeUnknown)
    assert isinstance(await desk.end(), Corrupt)


async def test_a_writer_that_fails_on_the_way_fails_what_waits(desk: Desk) -> None:
    (at_the_journal,) = await desk.held(opened(1))
    error = RuntimeError("a fault of ours")
    desk.journal.failures.append(error)  # type: ignore[arg-type]
    queued = desk.writer.submit(opened(2))
    desk.journal.gate.set()
    outcomes = await asyncio.gather(at_the_journal, queued, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, ShardUnavailable]
    assert await desk.end() is error


async def test_recorded_times_never_go_back(desk: Desk) -> None:
    await desk.ask(opened(1))
    desk.now = NOW - timedelta(hours=1)
    (later,) = _books(await desk.ask(updated(1)))
    assert later.last_updated == NOW
    async with _desk(database=desk.database, books=list(desk.books)) as restarted:
        restarted.now = NOW - timedelta(hours=1)
        (after,) = _books(await restarted.ask(updated(1)))
        assert after.last_updated == NOW


async def test_figures_count_commits_and_rows(desk: Desk) -> None:
    await desk.ask(opened(1, cash="1"), updated(1))
    await desk.ask(updated(7))
    figures = desk.writer.figures
    assert (figures.commits, figures.rows, figures.batch_rows_largest) == (1, 3, 3)
    assert figures.batch_sizes[:4] == [0, 0, 1, 0]


async def test_an_update_of_the_largest_size_is_one_unit(desk: Desk) -> None:
    many = [deposit("0.01")] * 1_000
    first, booked, too_many = await desk.ask(opened(1), updated(1, *many), updated(1, *many, deposit("1")))
    assert _books([first, booked])[1].cash == Decimal("10.00")
    assert isinstance(too_many, InvalidRequest)


async def test_a_sealed_writer_settles_what_it_has_taken_in_and_takes_nothing_more(desk: Desk) -> None:
    await desk.ask(opened(1))
    at_the_journal = await desk.held(updated(1))
    queued = [desk.writer.submit(updated(1)) for _ in range(3)]
    sealing = asyncio.ensure_future(desk.writer.seal("the shard is moving"))
    await asyncio.sleep(0)
    with pytest.raises(ShardUnavailable, match="is moving") as caught:
        desk.writer.submit(updated(1))
    assert caught.value.cause == {"moving": True}
    assert not sealing.done()
    desk.journal.gate.set()
    await asyncio.wait_for(sealing, 5)
    assert [answer.result().book.version for answer in (*at_the_journal, *queued)] == [2, 3, 4, 5]
    for _ in range(5):
        with pytest.raises(ShardUnavailable):
            desk.writer.submit(updated(1))
        await asyncio.sleep(0)
    assert desk.versions == [1, 2, 3, 4, 5]
    desk.writer.unseal()
    assert _versions(await desk.ask(updated(1))) == [6]


async def test_an_idle_writer_is_sealed_at_once(desk: Desk) -> None:
    await desk.ask(opened(1))
    await asyncio.wait_for(desk.writer.seal("the shard is moving"), 1)
    desk.writer.unseal()
    assert _versions(await desk.ask(updated(1))) == [2]


async def test_a_writer_that_stops_while_it_is_sealed_keeps_nobody_waiting(desk: Desk) -> None:
    await desk.ask(opened(1))
    (answer,) = await desk.held(updated(1))
    sealing = asyncio.ensure_future(desk.writer.seal("the shard is moving"))
    await asyncio.sleep(0)
    await desk.end()
    await asyncio.wait_for(sealing, 5)
    with pytest.raises(OutcomeUnknown):
        await answer


def _versions(outcomes: Sequence[Outcome | BaseException]) -> list[int]:
    return [book.version for book in _books(outcomes)]
