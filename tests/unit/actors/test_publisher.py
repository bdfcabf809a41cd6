"""What follows a commit: the mirror and the events, on a mirror in memory that fails when told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from actors.books import Books
from actors.lease import Lease
from actors.publisher import Publisher
from actors.settings import Limits
from portfolio.book import Book
from portfolio.entries import derived_id
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Fence, MirrorUnavailable
from tests.oracles.memory_store import MemoryMirror
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.support.shards import eventually


class Press:
    """A publisher at work. `commit` hands it a batch as the writer would."""

    def __init__(self, limits: Limits, announced_seq: int = 0) -> None:
        self.scribe = Scribe()
        self.books = Books({}, {})
        self.mirror = MemoryMirror()
        self.head_seq = announced_seq
        self.lease = Lease(3600)
        self.lease.proven(self.lease.now())
        self.publisher = Publisher(
            books=self.books,
            mirror=self.mirror,
            lease=self.lease,
            fence=lambda: Fence(ShardId(0), 1),
            limits=limits,
            announced_seq=announced_seq,
        )
        self.jobs = [
            asyncio.ensure_future(self.publisher.run_mirror()),
            asyncio.ensure_future(self.publisher.run_events()),
        ]

    def commit(self, *numbers: int) -> None:
        """One batch with a row of each of these portfolios."""
        batch: dict[PortfolioId, Book] = {}
        first_seq = self.head_seq + 1
        for number in numbers:
            command = updated(number) if portfolio(number) in self.scribe.books else opened(number)
            self.head_seq += len(self.scribe.rows(command))
            batch[portfolio(number)] = self.scribe.books[portfolio(number)]
        for book in batch.values():
            self.books.replace(book)
        self.publisher.committed(list(batch.values()), first_seq, self.head_seq)

    @property
    def announced(self) -> list[tuple[str, int]]:
        """Portfolio and version of each event in the stream."""
        versions = {
            str(derived_id(name, version)): version for name in self.scribe.books for version in range(1, 1_000)
        }
        found = [json.loads(event) for event in self.mirror.events]
        return [(item["portfolio_state_updated"]["portfolio_id"], versions[item["event_id"]]) for item in found]

    def shown(self) -> dict[PortfolioId, int]:
        """The version of each portfolio in the mirror."""
        return {name: picture.version for name, picture in self.mirror.pictures.items()}


@contextlib.asynccontextmanager
async def _press(**limits: int | float) -> AsyncIterator[Press]:
    press = Press(Limits(**{"mirror_interval_s": 0.005, **limits}))  # type: ignore[arg-type]
    try:
        yield press
        assert not any(job.done() for job in press.jobs)
    finally:
        for job in press.jobs:
            job.cancel()
        await asyncio.gather(*press.jobs, return_exceptions=True)


async def test_every_commit_is_shown_and_announced() -> None:
    async with _press() as press:
        press.commit(1, 2)
        press.commit(1)
        await eventually(lambda: press.publisher.backlog == 0 and press.shown() == {"P-1": 2, "P-2": 1})
        assert press.announced == [("P-1", 1), ("P-2", 1), ("P-1", 2)]
        assert press.publisher.announced_seq == press.head_seq == 3


async def test_announced_seq_waits_for_the_whole_batch() -> None:
    async with _press() as press:
        press.mirror.is_down = True
        press.commit(1, 2, 3)
        assert press.publisher.announced_seq == 0
        press.mirror.is_down = False
        await eventually(lambda: press.publisher.announced_seq == 3)


async def test_a_mirror_that_is_away_loses_nothing_and_catches_up_in_order() -> None:
    async with _press() as press:
        press.mirror.is_down = True
        for turn in range(40):
            press.commit(turn % 4)
        await eventually(lambda: not press.publisher.is_reachable)
        assert press.publisher.backlog == 40
        assert press.mirror.events == []
        press.mirror.is_down = False
        await eventually(lambda: press.publisher.backlog == 0)
        await eventually(lambda: press.shown() == {portfolio(number): 10 for number in range(4)})
        assert press.announced == [(portfolio(turn % 4), turn // 4 + 1) for turn in range(40)]
        await eventually(lambda: press.publisher.is_reachable)


async def test_a_lost_answer_repeats_events_with_the_same_ids() -> None:
    async with _press() as press:
        press.mirror.lost_answers = 1
        press.commit(1, 2)
        await eventually(lambda: press.publisher.backlog == 0)
        assert press.announced == [("P-1", 1), ("P-2", 1)] * 2


def _is_in_order(announced: Sequence[tuple[str, int]]) -> bool:
    last: dict[str, int] = {}
    for name, version in announced:
        if version < last.get(name, 0):
            return False
        last[name] = version
    return True


async def test_beyond_the_bound_only_the_last_version_of_each_portfolio_is_kept() -> None:
    async with _press(pending_events_max=10) as press:
        press.mirror.is_down = True
        for turn in range(100):
            press.commit(turn % 3)
            assert press.publisher.backlog <= 11
            assert press.publisher.announced_seq == 0
        press.mirror.is_down = False
        await eventually(lambda: press.publisher.backlog == 0)
        assert _is_in_order(press.announced)
        assert dict(press.announced) == {"P-0": 34, "P-1": 33, "P-2": 33}
        assert press.publisher.announced_seq == 100


async def test_conflation_while_events_are_on_their_way_keeps_the_last_of_each() -> None:
    async with _press(pending_events_max=7) as press:
        for turn in range(300):
            press.commit(*{turn % 5, turn * 7 % 11})
            press.mirror.is_down = turn % 50 > 25
            if turn % 3 == 0:
                await asyncio.sleep(0)
        press.mirror.is_down = False
        await eventually(lambda: press.publisher.backlog == 0)
        assert _is_in_order(press.announced)
        assert dict(press.announced) == {name: book.version for name, book in press.scribe.books.items()}


@pytest.mark.parametrize("announced_before_the_crash", range(6))
async def test_rows_after_announced_seq_cover_every_portfolio_not_announced(
    announced_before_the_crash: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is conflated, a crash finds in the journal, after announced_seq, whom it still owes an event."""
    monkeypatch.setattr("actors.publisher._EVENTS_PER_CALL_MAX", 1)
    async with _press(pending_events_max=5) as press:
        press.mirror.is_down = True
        owners: list[str] = []
        for numbers in ((1, 2), (3,), (1,), (4, 5), (2,), (1,), (6,)):
            press.commit(*numbers)
            owners += [portfolio(number) for number in numbers]
        sent: list[bytes] = []
        crashed = asyncio.Event()

        async def one_at_a_time(events: Sequence[bytes], fence: Fence) -> None:
            if len(sent) >= announced_before_the_crash:
                crashed.set()
                raise MirrorUnavailable("it is down")
            sent.extend(events)

        press.mirror.is_down = False
        press.mirror.announce = one_at_a_time  # type: ignore[method-assign]
        async with asyncio.timeout(5):
            await crashed.wait()
        owed = set(owners[press.publisher.announced_seq :])
        told = {json.loads(event)["event_id"] for event in sent}
        for name, book in press.scribe.books.items():
            assert str(derived_id(name, book.version)) in told or name in owed


async def test_marks_are_shown_without_an_event() -> None:
    async with _press() as press:
        press.commit(1)
        await eventually(lambda: press.shown() == {"P-1": 1} and press.publisher.backlog == 0)
        press.mirror.pictures.clear()
        press.publisher.refresh([portfolio(1)])
        await eventually(lambda: press.shown() == {"P-1": 1})
        assert press.announced == [("P-1", 1)]


async def test_a_start_with_nothing_to_announce_knows_where_the_journal_ends() -> None:
    async with _press() as press:
        press.publisher.committed([], 8, 9)
        assert press.publisher.announced_seq == 9
