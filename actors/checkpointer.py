"""Brings the checkpoint up to the journal, every second or so, off the write path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from actors.books import Books
from actors.settings import Limits
from portfolio.book import Book
from portfolio.errors import Deposed, ShardUnavailable
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.ports import Checkpoint, CheckpointStore, ValuedBook

_log = logging.getLogger(__name__)


class Checkpointer:
    """Knows which books the checkpoint is behind on. `epoch` and `announced_seq` are asked for at each save."""

    def __init__(
        self,
        *,
        books: Books,
        store: CheckpointStore,
        limits: Limits,
        checkpoint_seq: int,
        head_seq: int,
        epoch: Callable[[], int],
        announced_seq: Callable[[], int],
    ) -> None:
        self._books = books
        self._store = store
        self._limits = limits
        self._epoch = epoch
        self._announced_seq = announced_seq
        self._saved_announced_seq = -1
        self._saved_positions: dict[PortfolioId, frozenset[InstrumentId]] = {}
        self._dirty: dict[PortfolioId, None] = {}
        self._revalued: dict[PortfolioId, None] = {}
        self._rebuilt: dict[PortfolioId, None] = {}
        self._rows_due = asyncio.Event()
        self._saving = asyncio.Lock()
        self.checkpoint_seq = checkpoint_seq
        self.head_seq = head_seq

    def restored(self, saved: Mapping[PortfolioId, frozenset[InstrumentId]], changed: Iterable[PortfolioId]) -> None:
        """Begin from the positions that the checkpoint holds, and what recovery changed on top of it."""
        self._saved_positions = dict(saved)
        self._dirty.update(dict.fromkeys(changed))

    def drop(self, portfolio_ids: Iterable[PortfolioId]) -> None:
        """Leave portfolios, whose checkpoint is up to date, to another shard."""
        for portfolio_id in portfolio_ids:
            self._saved_positions.pop(portfolio_id, None)
            self._revalued.pop(portfolio_id, None)
            self._dirty.pop(portfolio_id, None)
            self._rebuilt.pop(portfolio_id, None)

    def rebuilt(self, portfolio_ids: Iterable[PortfolioId]) -> None:
        """Save these, which were made anew from the journal; whichever is in quarantine leaves it with that save."""
        rebuilt = dict.fromkeys(portfolio_ids)
        self._rebuilt |= rebuilt
        self._dirty |= rebuilt

    def committed(self, books: Sequence[Book], head_seq: int) -> None:
        """Take the books of a batch whose last journal row is `head_seq`."""
        self._dirty.update(dict.fromkeys(book.portfolio_id for book in books))
        self.head_seq = head_seq
        if head_seq - self.checkpoint_seq >= self._limits.checkpoint_rows:
            self._rows_due.set()

    def revalued(self, portfolio_ids: Iterable[PortfolioId]) -> None:
        """Note portfolios whose values in the checkpoint are of older marks."""
        self._revalued.update(dict.fromkeys(portfolio_ids))

    async def run(self) -> None:
        """Save checkpoints until cancelled. Whether the shard was deposed is left to the ownership check."""
        last_revalued = time.monotonic()
        while True:
            started = time.monotonic()
            if started - last_revalued >= self._limits.revalued_checkpoint_interval_s:
                last_revalued = started
                self._dirty |= self._revalued
                self._revalued = {}
            try:
                async with asyncio.timeout(self._limits.checkpoint_timeout_s):
                    await self.save()
            except TimeoutError:
                _log.warning("the checkpoint is behind at row %s: Postgres takes too long", self.checkpoint_seq)
            except (ShardUnavailable, Deposed) as error:
                # The journal may have claimed the shard again while the checkpoint was under way, which fails it too.
                _log.warning("the checkpoint is behind at row %s: %s", self.checkpoint_seq, error)
            took_s = time.monotonic() - started
            await asyncio.sleep(min(took_s / self._limits.checkpoint_duty, self._limits.checkpoint_rest_max_s))
            await self._until_due()

    async def _until_due(self) -> None:
        try:
            await asyncio.wait_for(self._rows_due.wait(), self._limits.checkpoint_interval_s)
        except TimeoutError:
            return

    async def save(self) -> None:
        """Save what changed. Raises ShardUnavailable (nothing is lost, try again), Deposed or Corrupt."""
        async with self._saving:
            await self._save()

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Save what changed; then nothing is saved meanwhile. Raises as `save` does."""
        async with self._saving:
            await self._save()
            yield

    async def _save(self) -> None:
        announced_seq = self._announced_seq()
        if not self._dirty and self.checkpoint_seq == self.head_seq and announced_seq == self._saved_announced_seq:
            return
        dirty, self._dirty = self._dirty, {}
        self._rows_due.clear()
        books = [self._books.get(portfolio_id) for portfolio_id in dirty]
        closed = [(book.portfolio_id, gone) for book in books for gone in self._closed(book)]
        released = [portfolio_id for portfolio_id in self._rebuilt if portfolio_id in dirty]
        seq = self.head_seq
        for book in books:
            # If the answer is lost, the positions may be there all the same; when they close, they must be deleted.
            before = self._saved_positions.get(book.portfolio_id, frozenset())
            self._saved_positions[book.portfolio_id] = before | book.positions.keys()
        # Books are immutable, so they are valued and written one by one while newer ones are committed.
        valued = (ValuedBook(book, self._books.valuation(book)) for book in books)
        try:
            await self._store.save(Checkpoint(seq, announced_seq, valued, closed, released), self._epoch())
        except BaseException:
            self._dirty = dirty | self._dirty
            raise
        self.checkpoint_seq = seq
        self._saved_announced_seq = announced_seq
        for portfolio_id in released:
            del self._rebuilt[portfolio_id]
        self._saved_positions |= {book.portfolio_id: frozenset(book.positions) for book in books}

    def _closed(self, book: Book) -> Iterable[InstrumentId]:
        saved = self._saved_positions.get(book.portfolio_id)
        return saved - book.positions.keys() if saved else ()
