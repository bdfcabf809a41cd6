"""The single writer of a shard: takes what has queued, decides it, commits it in one append, acknowledges."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from actors.books import Books
from actors.lease import Lease
from actors.line import Place, behind
from actors.pacing import Pacer
from actors.recent_keys import RecentKeys
from actors.settings import Limits
from portfolio import ids
from portfolio.book import Book
from portfolio.commands import Command, UpdatePortfolio, request_hash
from portfolio.decide import Decision, check_count, deciding
from portfolio.errors import (
    Corrupt,
    Deposed,
    IdempotencyKeyReused,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    PortfolioError,
    Rejected,
    ShardUnavailable,
    Unavailable,
)
from portfolio.ids import PortfolioId
from portfolio.invariants import check_book
from portfolio.ports import DuplicateKeys, Journal, PendingRow, RequestKey

_log = logging.getLogger(__name__)
_ATTEMPTS_MAX: Final = 5
"""A batch is decided anew when the journal has one of its keys; each time the keys found are known before."""

BATCH_SIZES: Final = 14
_FORESEEN_MAX: Final = 100
"""Positions and cash of a batch whose documents are written during the commit, in less than a millisecond."""
_ROWS_OF_OTHERS_MAX: Final = 2
"""An opening with its first deposit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command that is booked: the book right after it, or the present one if the command is a repeat."""

    book: Book
    replayed: bool


@dataclass(slots=True)
class _Waiting:
    """A command in the queue, and who waits for it."""

    command: Command
    key: RequestKey | None
    request_hash: bytes | None
    deadline: float
    answer: asyncio.Future[Outcome]
    place: Place | None
    rows: int


@dataclass(slots=True)
class _Draft:
    """What one batch comes to, before it is committed."""

    rows: list[PendingRow] = field(default_factory=list)
    books: dict[PortfolioId, Book] = field(default_factory=dict)
    keys: dict[RequestKey, bytes] = field(default_factory=dict)
    transaction_ids: set[UUID] = field(default_factory=set)
    accepted: list[tuple[_Waiting, Book]] = field(default_factory=list)
    repeated: list[_Waiting] = field(default_factory=list)
    refused: list[tuple[_Waiting, PortfolioError]] = field(default_factory=list)


@dataclass(slots=True)
class WriterFigures:
    """Counts since the shard started, for status and metrics."""

    commits: int = 0
    rows: int = 0
    batch_rows_largest: int = 0
    batch_sizes: list[int] = field(default_factory=lambda: [0] * BATCH_SIZES)
    """How many batches had 1 row, 2, up to 4, up to 8, and so on."""

    def count(self, rows: int) -> None:
        """Count a batch that was committed."""
        self.commits += 1
        self.rows += rows
        self.batch_rows_largest = max(self.batch_rows_largest, rows)
        self.batch_sizes[min((rows - 1).bit_length(), BATCH_SIZES - 1)] += 1


class Writer:
    """Commands in, outcomes out; one batch at a time. `committed` is told the books of each batch, in commit order."""

    def __init__(
        self,
        *,
        books: Books,
        journal: Journal,
        keys: RecentKeys,
        lease: Lease,
        limits: Limits,
        committed: Callable[[Sequence[Book], int], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._books = books
        self._journal = journal
        self._keys = keys
        self._lease = lease
        self._limits = limits
        self._committed = committed
        self._clock = clock
        self._recorded_at = max((book.last_updated for book in books), default=datetime.min.replace(tzinfo=UTC))
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._arrived = asyncio.Event()
        self._stopped: PortfolioError | None = None
        self._sealed: str | None = None
        self._is_appending = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.figures = WriterFigures()

    @property
    def queue_depth(self) -> int:
        """Commands that wait to be decided."""
        return len(self._queue)

    @property
    def is_pressed(self) -> bool:
        """Whether writes come so fast that many share a commit; then what can wait should."""
        return max(len(self._queue), self._under_way) > self._limits.pressed_commands

    def submit(self, command: Command, place: Place | None = None) -> asyncio.Future[Outcome]:
        """Queue a command; the future gives its outcome once it is committed, or raises why it is not.

        Those with a place in a line keep their order: once one of a portfolio is turned away for a moment, so are those
        behind it, which would otherwise be booked before it is tried again. Cancelling the future withdraws nothing. Raises InvalidRequest, Overloaded or ShardUnavailable at once; turning those away is the caller's part.
        """
        if self._stopped is not None:
            raise ShardUnavailable(f"the shard has stopped: {self._stopped}")
        if self._sealed is not None:
            raise ShardUnavailable(self._sealed, moving=True)
        if place is not None and place.is_overtaking:
            raise behind(command.portfolio_id)
        if isinstance(command, UpdatePortfolio):
            check_count(command)
        key, content = self._identified(command)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.command_wait_s
        rows = len(command.transactions) if isinstance(command, UpdatePortfolio) else _ROWS_OF_OTHERS_MAX
        waiting = _Waiting(command, key, content, deadline, loop.create_future(), place, rows)
        if (
            len(self._queue) >= self._limits.queue_commands_max
            or self._queued_rows + rows > self._limits.queue_rows_max
        ):
            raise Overloaded(f"{len(self._queue):,} commands wait already", limit=self._limits.queue_commands_max)
        self._queue.append(waiting)
        self._queued_rows += rows
        self._idle.clear()
        self._arrived.set()
        return waiting.answer

    async def seal(self, reason: str) -> None:
        """Refuse commands from now on, for a moment; returns once all that were taken in are settled."""
        self._sealed = reason
        await self._idle.wait()

    def unseal(self) -> None:
        """Take commands again."""
        self._sealed = None

    def _identified(self, command: Command) -> tuple[RequestKey | None, bytes | None]:
        if command.idempotency_key is None:
            return None, None
        # A key that Postgres could not store must not come as far as a batch that others share.
        ids.idempotency_key(command.idempotency_key)
        return (command.portfolio_id, command.idempotency_key), request_hash(command)

    async def run(self) -> None:
        """Commit batches until cancelled. Raises Deposed or Corrupt when the shard must stop."""
        batch: list[_Waiting] = []
        try:
            while True:
                await self._arrived.wait()
                batch = self._take()
                self._under_way = len(batch)
                await self._commit(batch)
                self._under_way = 0
                if not self._queue:
                    self._idle.set()
        except PortfolioError as error:
            self._stop(error, batch)
            raise
        except BaseException:
            self._stop(ShardUnavailable("the shard is shutting down"), batch)
            raise

    def _stop(self, reason: PortfolioError, batch: Sequence[_Waiting]) -> None:
        self._stopped = reason
        if self._is_appending:
            # The journal was asked and has not answered: nobody may be told that nothing was booked.
            for waiting in batch:
                _fail(waiting, OutcomeUnknown(f"the shard stopped during the commit: {reason}"))
        for waiting in (*batch, *self._queue):
            _fail(waiting, ShardUnavailable(f"the shard has stopped: {reason}"))
        self._queue.clear()
        self._idle.set()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        now = asyncio.get_running_loop().time()
        while self._queue and (not batch or rows + self._queue[0].rows <= self._limits.batch_rows_max):
            waiting = self._queue.popleft()
            self._queued_rows -= waiting.rows
            if now > waiting.deadline:
                _fail(waiting, ShardUnavailable("the command waited too long and was not booked"))
            else:
                batch.append(waiting)
                rows += waiting.rows
        if not self._queue:
            self._arrived.clear()
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        found: Mapping[RequestKey, bytes] = {}
        try:
            for _ in range(_ATTEMPTS_MAX):
                draft = await self._decide(batch, found)
                if await self._append(draft):
                    self._apply(draft)
                    return
                found = await self._journal.find_keys({waiting.key for waiting in batch if waiting.key is not None})
                batch = await self._without_taken_ids(batch, found)
            raise ShardUnavailable("the journal has keys that it does not show")
        except ShardUnavailable as error:
            for waiting in batch:
                _fail(waiting, error)

    async def _append(self, draft: _Draft) -> bool:
        """Whether the draft is durable now; not, if the journal has one of its keys already."""
        if not draft.rows:
            return True
        self._is_appending = True
        if sum(1 + len(book.positions) for book in draft.books.values()) <= _FORESEEN_MAX:
            # It runs once the rows are on their way: Postgres takes longer than this, and the caller waits for both.
            asyncio.get_running_loop().call_soon(self._books.foresee, draft.books.values())
        asked_at = self._lease.now()
        try:
            await self._journal.append(draft.rows)
        except DuplicateKeys as error:
            self._is_appending = False
            _log.info("a batch repeats what was booked before: %s", error)
            return False
        except (ShardUnavailable, Deposed):
            self._is_appending = False
            raise
        self._is_appending = False
        # The fence let it through, so this shard was ours then.
        self._lease.proven(asked_at)
        return True

    async def _decide(self, batch: Sequence[_Waiting], found: Mapping[RequestKey, bytes]) -> _Draft:
        # Keys found in the journal are known to this batch, however few keys memory holds.
        draft = _Draft(keys=dict(found))
        pacer = Pacer(self._limits.loop_slice_ms)
        # Time as recorded never goes back within a shard, whatever the machine's clock does.
        self._recorded_at = max(self._clock(), self._recorded_at)
        for waiting in batch:
            await self._decide_one(waiting, draft, pacer)
        await self._look_again(draft)
        return draft

    async def _decide_one(self, waiting: _Waiting, draft: _Draft, pacer: Pacer) -> None:
        if pacer.is_due():
            await pacer.rest()
        try:
            if waiting.place is not None and waiting.place.is_overtaking:
                raise behind(waiting.command.portfolio_id)
            if self._is_repeat(waiting, draft):
                draft.repeated.append(waiting)
                return
            book = draft.books.get(waiting.command.portfolio_id) or self._books.find(waiting.command.portfolio_id)
            decision = await self._decided(book, waiting.command, pacer)
            # Nothing is acknowledged that recovery would call corrupt.
            check_book(decision.book, book)
            self._claim_transaction_ids(waiting.command, draft)
        except PortfolioError as error:
            draft.refused.append((waiting, error))
        except ArithmeticError as error:
            # Limits should make this impossible; if they do not, one command suffers and no other.
            _log.exception("cannot decide %s", waiting.command)
            draft.refused.append((waiting, Corrupt(f"the command cannot be computed: {error!r}")))
        else:
            self._accept(waiting, decision, draft)

    def _is_repeat(self, waiting: _Waiting, draft: _Draft) -> bool:
        if waiting.key is None:
            return False
        known = draft.keys.get(waiting.key) or self._keys.get(waiting.key)
        if known is not None and known != waiting.request_hash:
            raise _reused(waiting.key)
        return known is not None

    async def _decided(self, book: Book | None, command: Command, pacer: Pacer) -> Decision:
        steps = deciding(book, command, now=self._recorded_at, marks=self._books.marks)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                decision: Decision = done.value
                return decision
            if pacer.is_due():
                await pacer.rest()

    def _claim_transaction_ids(self, command: Command, draft: _Draft) -> None:
        if not isinstance(command, UpdatePortfolio):
            return
        given = [asked.transaction_id for asked in command.transactions if asked.transaction_id is not None]
        if given and (len(set(given)) < len(given) or not draft.transaction_ids.isdisjoint(given)):
            raise InvalidRequest("a transaction_id is given twice", field="transaction_id")
        draft.transaction_ids.update(given)

    def _accept(self, waiting: _Waiting, decision: Decision, draft: _Draft) -> None:
        key = waiting.command.idempotency_key
        first, *rest = decision.entries
        draft.rows.append(PendingRow(first, key, waiting.request_hash))
        draft.rows.extend(PendingRow(entry, key) for entry in rest)
        draft.books[decision.book.portfolio_id] = decision.book
        draft.accepted.append((waiting, decision.book))
        if waiting.key is not None and waiting.request_hash is not None:
            draft.keys[waiting.key] = waiting.request_hash

    async def _look_again(self, draft: _Draft) -> None:
        """Before a command with a key is refused: it may have been booked long ago, and be a repeat."""
        asked = [waiting.key for waiting, error in draft.refused if waiting.key and not self._is_known(waiting, error)]
        if not asked or self._keys.is_complete:
            return
        draft.keys.update(await self._journal.find_keys(asked))
        refused, draft.refused = draft.refused, []
        for waiting, error in refused:
            try:
                if self._is_repeat(waiting, draft):
                    draft.repeated.append(waiting)
                else:
                    draft.refused.append((waiting, error))
            except IdempotencyKeyReused as reused:
                draft.refused.append((waiting, reused))

    def _is_known(self, waiting: _Waiting, error: PortfolioError) -> bool:
        return isinstance(error, IdempotencyKeyReused) or (
            waiting.key is not None and self._keys.get(waiting.key) is not None
        )

    async def _without_taken_ids(self, batch: Sequence[_Waiting], found: Mapping[RequestKey, bytes]) -> list[_Waiting]:
        """What is left of a batch that the journal's unique indexes refused; its repeats, whose keys were `found`, stay."""
        taken = await self._journal.find_transaction_ids(
            asked.transaction_id
            for waiting in batch
            if isinstance(waiting.command, UpdatePortfolio)
            for asked in waiting.command.transactions
            if asked.transaction_id is not None
        )
        left: list[_Waiting] = []
        for waiting in batch:
            is_repeat = waiting.key in found
            repeated = None if is_repeat else _taken_id(waiting.command, taken)
            if repeated is None:
                left.append(waiting)
            else:
                _fail(waiting, repeated)
        return left

    def _apply(self, draft: _Draft) -> None:
        for book in draft.books.values():
            self._books.replace(book)
        self._keys.learn(draft.keys)
        for waiting, book in draft.accepted:
            _succeed(waiting, Outcome(book, replayed=False))
        for waiting in draft.repeated:
            _succeed(waiting, Outcome(self._books.get(waiting.command.portfolio_id), replayed=True))
        for waiting, error in draft.refused:
            _fail(waiting, error)
        if draft.rows:
            self.figures.count(len(draft.rows))
            self._committed(list(draft.books.values()), len(draft.rows))


def _taken_id(command: Command, taken: frozenset[UUID]) -> Rejected | None:
    if not isinstance(command, UpdatePortfolio):
        return None
    for index, asked in enumerate(command.transactions):
        if asked.transaction_id in taken:
            return InvalidRequest(
                f"transaction_id {asked.transaction_id} is booked already", field="transaction_id"
            ).at(index)
    return None


def _reused(key: RequestKey) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        f"idempotency key {key[1]!r} was used for another request", portfolio_id=key[0], idempotency_key=key[1]
    )


# A caller that went away has cancelled its future: setting a result on that would raise, and stop the writer.
def _succeed(waiting: _Waiting, outcome: Outcome) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(outcome)


def _fail(waiting: _Waiting, error: PortfolioError) -> None:
    if waiting.place is not None and isinstance(error, Unavailable):
        waiting.place.turn_away()
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
        # Whoever asked may be gone; an exception that nobody fetches must not be reported as forgotten.
        waiting.answer.exception()
