"""What follows a commit and never holds it up: the mirror in Redis and the stream of events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from actors.books import Books
from actors.lease import Lease
from actors.pacing import Pacer
from actors.settings import Limits
from portfolio.book import Book
from portfolio.ids import PortfolioId
from portfolio.ports import Fence, Mirror, MirrorUnavailable, Picture

_log = logging.getLogger(__name__)
_BACKOFF_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
_EVENTS_PER_CALL_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class _Pending:
    """A committed book to announce; `first_seq` is the first journal row of the batch that it came with."""

    book: Book
    first_seq: int
    committed_at: datetime


class Publisher:
    """Shows the newest state of each portfolio in the mirror, and announces its versions in order.

    While Redis is away, what is to be shown is a set of portfolios, and what is to be announced a bounded queue; beyond
    the bound, only the last version of each portfolio is kept. Without the lease nothing is shown or announced; `fence`
    is asked for at each announcement. While the shard `is_pressed` by writes, this takes less of its loop.
    """

    def __init__(
        self,
        *,
        books: Books,
        mirror: Mirror,
        lease: Lease,
        fence: Callable[[], Fence],
        limits: Limits,
        announced_seq: int,
        is_pressed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._books = books
        self._mirror = mirror
        self._lease = lease
        self._fence = fence
        self._limits = limits
        self._head_seq = announced_seq
        self._is_pressed = is_pressed
        self._dirty: dict[PortfolioId, None] = {}
        self._pending: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        self._announcing = asyncio.Lock()
        self._server_run = ""
        self._next_look = 0.0
        self._next_announcement = 0.0
        self.is_reachable = True

    @property
    def announced_seq(self) -> int:
        """Every version up to this journal row has reached the stream."""
        return self._pending[0].first_seq - 1 if self._pending else self._head_seq

    @property
    def backlog(self) -> int:
        """Events that wait to be announced."""
        return len(self._pending)

    def committed(self, books: Sequence[Book], first_seq: int, head_seq: int) -> None:
        """Take the books of a batch of journal rows `first_seq` to `head_seq`."""
        now = datetime.now(UTC)
        self._pending.extend(_Pending(book, first_seq, now) for book in books)
        self._head_seq = head_seq
        self.refresh(book.portfolio_id for book in books)
        if len(self._pending) > self._limits.pending_events_max:
            self._conflate()
        self._arrived.set()

    def refresh(self, portfolio_ids: Iterable[PortfolioId]) -> None:
        """Show these portfolios anew."""
        self._dirty.update(dict.fromkeys(portfolio_ids))

    def silence(self) -> asyncio.Lock:
        """A lock under which nothing is announced, for a change of who announces."""
        return self._announcing

    def drop(self, portfolio_ids: Iterable[PortfolioId]) -> None:
        """Leave portfolios to another shard, which shows them anew and announces what was not announced here."""
        gone = set(portfolio_ids)
        self._dirty = {found: None for found in self._dirty if found not in gone}
        self._pending = deque(pending for pending in self._pending if pending.book.portfolio_id not in gone)

    def _conflate(self) -> None:
        last = {pending.book.portfolio_id: pending for pending in self._pending}
        first_seq = self._pending[0].first_seq
        kept = sorted(last.values(), key=lambda pending: pending.first_seq)
        # The first keeps the oldest row's number, so that a crash now announces again all that was left out.
        self._pending = deque(kept)
        self._pending[0] = _Pending(kept[0].book, first_seq, kept[0].committed_at)

    async def run_mirror(self) -> None:
        """Show what changed, until cancelled."""
        failures = 0
        while True:
            await asyncio.sleep(self._limits.mirror_interval_s if not failures else _pause_s(failures))
            if not self._lease.is_held:
                continue
            try:
                await self._notice_restart()
                await self._show_all()
                failures = 0
            except MirrorUnavailable as error:
                failures += 1
                self._report(failures, error)
            self.is_reachable = not failures

    async def _notice_restart(self) -> None:
        """Show everything anew to a server that may have lost it."""
        now = time.monotonic()
        if now < self._next_look:
            return
        run = await self._mirror.server_run()
        self._next_look = now + self._limits.mirror_look_interval_s
        if run != self._server_run:
            self._server_run = run
            self.refresh(book.portfolio_id for book in self._books)

    async def _show_all(self) -> None:
        while self._dirty and self._lease.is_held:
            batch = list(self._dirty)[: self._limits.mirror_batch_max]
            for portfolio_id in batch:
                del self._dirty[portfolio_id]
            try:
                await self._mirror.show(await self._pictures(batch))
            except BaseException:
                self.refresh(batch)
                raise

    async def _pictures(self, portfolio_ids: Sequence[PortfolioId]) -> list[Picture]:
        pacer = self._pacer(self._limits.mirror_share)
        pictures: list[Picture] = []
        for portfolio_id in portfolio_ids:
            if self._books.held(portfolio_id) is None:
                # It has gone to another shard since.
                continue
            documents = self._books.documents(portfolio_id)
            pictures.append(
                Picture(
                    portfolio_id=portfolio_id,
                    version=documents.version,
                    revaluation=documents.revaluation,
                    state=documents.state,
                    positions=documents.positions,
                    weights=documents.weights,
                )
            )
            if pacer.is_due():
                await pacer.rest()
        return pictures

    def _pacer(self, share: float) -> Pacer:
        # Once the queue is half full, being late would become leaving versions out.
        gives_way = self._is_pressed() and len(self._pending) < self._limits.pending_events_max // 2
        return Pacer(self._limits.loop_slice_ms, share * self._limits.pressed_share if gives_way else share)

    async def run_events(self) -> None:
        """Announce what was committed, in order, until cancelled."""
        failures = 0
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._pending:
                if not self._lease.is_held:
                    await asyncio.sleep(self._limits.mirror_interval_s)
                    continue
                try:
                    await self._gather()
                    async with self._announcing:
                        await self._announce_next()
                    failures = 0
                except MirrorUnavailable as error:
                    failures += 1
                    self._report(failures, error)
                    await asyncio.sleep(_pause_s(failures))

    async def _gather(self) -> None:
        """Let events that come close together share a call, which takes longer than to book what they tell."""
        now = time.monotonic()
        if now < self._next_announcement and len(self._pending) < _EVENTS_PER_CALL_MAX:
            await asyncio.sleep(self._next_announcement - now)
        self._next_announcement = time.monotonic() + self._limits.events_interval_s

    async def _announce_next(self) -> None:
        batch = [self._pending[index] for index in range(min(len(self._pending), _EVENTS_PER_CALL_MAX))]
        # While the lock was held elsewhere, the shard, or all of these portfolios, may have gone to another owner.
        if batch and self._lease.is_held:
            await self._mirror.announce(await self._events(batch), self._fence())
            self._forget(batch)

    def _forget(self, announced: Sequence[_Pending]) -> None:
        # A conflation while the events were on their way may have taken some of them out, never put one in front.
        done = {id(pending.book) for pending in announced}
        while self._pending and id(self._pending[0].book) in done:
            self._pending.popleft()

    async def _events(self, batch: Sequence[_Pending]) -> list[bytes]:
        pacer = self._pacer(self._limits.events_share)
        events: list[bytes] = []
        for pending in batch:
            events.append(self._books.event(pending.book, pending.committed_at))
            if pacer.is_due():
                await pacer.rest()
        return events

    def _report(self, failures: int, error: MirrorUnavailable) -> None:
        if failures == 1:
            _log.warning("the mirror is behind: %s", error)


def _pause_s(failures: int) -> float:
    return _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]
