"""The owners' memory beside the books that the journal gives: memory may be newer than the snapshot, never older."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from cluster.verifying.checkpoint import Compared
from cluster.verifying.comparing import book_differences
from cluster.verifying.findings import Findings, Kind, Values, difference
from cluster.verifying.walk import Recomputed
from portfolio.book import Book
from portfolio.entries import Entry
from portfolio.errors import Corrupt, PortfolioError, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from portfolio.ledger import replay

Result = TypeVar("Result")
PAGE: Final = 1_000
SETTLE_S: Final = 3.0
"""A commit is in the journal for a moment before it is in memory; what is older for longer than this stays so."""
PATIENCE_S: Final = 30.0
"""A shard that recovers or moves is waited for as long."""
_PAUSE_S: Final = 0.1


class Memory(Protocol):
    """The committed books in the owners' memory."""

    async def books(self, shard_id: ShardId, after: str, limit: int) -> list[Book]:
        """Some books of a shard whose ids follow `after`, ordered by id; none at the end. Raises ShardUnavailable."""

    async def book(self, portfolio_id: PortfolioId) -> Book | None:
        """One book. Raises ShardUnavailable."""


class LaterEntries(Protocol):
    """The journal as it goes on after the snapshot."""

    async def later_entries(
        self, spans: Mapping[PortfolioId, tuple[int, int]]
    ) -> Mapping[PortfolioId, Sequence[Entry]]:
        """What was booked in each portfolio after one version and up to another. Raises Corrupt or ShardUnavailable."""


class MemoryComparison:
    """One shard's memory. `books` are those that were found there. `left_out` are portfolios that it need not answer for."""

    def __init__(
        self,
        shard_id: ShardId,
        recomputed: Recomputed,
        findings: Findings,
        *,
        memory: Memory,
        journal: LaterEntries,
        left_out: Collection[PortfolioId],
        settle_s: float = SETTLE_S,
    ) -> None:
        self._shard_id = shard_id
        self._recomputed = recomputed
        self._findings = findings
        self._memory = memory
        self._journal = journal
        self._left_out = left_out
        self._settle_s = settle_s
        self.books: dict[PortfolioId, Book] = {}
        self.compared = Compared()

    async def run(self) -> None:
        """Compare every book. Raises ShardUnavailable if the shard stays away."""
        unsettled: set[PortfolioId] = set(self._recomputed.books) - set(self._left_out)
        after = ""
        while page := await self._page(after):
            after = page[-1].portfolio_id
            unsettled -= await self._compare([book for book in page if self._counts(book.portfolio_id)])
        await self._settle(unsettled)

    async def _page(self, after: str) -> list[Book]:
        return await patiently(lambda: self._memory.books(self._shard_id, after, PAGE))

    def _counts(self, portfolio_id: PortfolioId) -> bool:
        return portfolio_id not in self._left_out and portfolio_id not in self._recomputed.unsound

    async def _compare(self, found: list[Book]) -> set[PortfolioId]:
        """Compare books, save those that are older than the snapshot; gives the ones that were compared."""
        settled: set[PortfolioId] = set()
        newer: list[Book] = []
        for book in found:
            expected = self._recomputed.books.get(book.portfolio_id)
            if expected is None or book.version > expected.version:
                newer.append(book)
            elif book.version == expected.version:
                self._settled(expected, book)
            else:
                continue
            settled.add(book.portfolio_id)
        if newer:
            await self._compare_newer(newer)
        return settled

    async def _compare_newer(self, found: list[Book]) -> None:
        known = self._recomputed.books
        spans = {book.portfolio_id: (_version(known.get(book.portfolio_id)), book.version) for book in found}
        try:
            later = await patiently(lambda: self._journal.later_entries(spans))
        except Corrupt as error:
            await self._compare_singly(found, error)
            return
        for book in found:
            try:
                expected = advanced(known.get(book.portfolio_id), later[book.portfolio_id])
            except PortfolioError as error:
                self._find(Kind.JOURNAL_BOOKING, book.portfolio_id, error.detail)
                continue
            if expected is None:
                self._find(Kind.MEMORY_SURPLUS, book.portfolio_id, "version", ("no such portfolio", book.version))
            else:
                self._settled(expected, book)

    async def _compare_singly(self, found: list[Book], error: Corrupt) -> None:
        """One of the later rows cannot be read: find out whose it is."""
        if len(found) == 1:
            self._find(Kind.JOURNAL_UNREADABLE, found[0].portfolio_id, error.detail)
            return
        for book in found:
            await self._compare_newer([book])

    def _settled(self, expected: Book, found: Book) -> None:
        self.books[found.portfolio_id] = found
        self.compared.portfolios += 1
        self.compared.positions += len(found.positions)
        if found != expected:
            for field, value, there in book_differences(expected, found):
                self._find(Kind.MEMORY_DIFFERS, found.portfolio_id, field, (value, there))

    async def _settle(self, unsettled: set[PortfolioId]) -> None:
        """Ask again for what is missing or older; what stays so is a difference."""
        deadline = asyncio.get_running_loop().time() + self._settle_s
        while unsettled:
            found = {name: await self._asked(name) for name in sorted(unsettled)}
            unsettled -= await self._compare([book for book in found.values() if book is not None])
            if asyncio.get_running_loop().time() > deadline:
                for portfolio_id in sorted(unsettled):
                    self._find_old(portfolio_id, found[portfolio_id])
                return
            await asyncio.sleep(_PAUSE_S if unsettled else 0)

    async def _asked(self, portfolio_id: PortfolioId) -> Book | None:
        try:
            return await patiently(lambda: self._memory.book(portfolio_id))
        except ShardUnavailable:
            raise
        except PortfolioError:
            # Whatever its owner says instead, it does not have the book.
            return None

    def _find_old(self, portfolio_id: PortfolioId, found: Book | None) -> None:
        expected = self._recomputed.books[portfolio_id].version
        if found is None:
            self._find(Kind.MEMORY_MISSING, portfolio_id, "version", (expected, "no such portfolio"))
        else:
            self._find(Kind.MEMORY_STALE, portfolio_id, "version", (expected, found.version))

    def _find(self, kind: Kind, portfolio_id: PortfolioId, field: str, values: Values | None = None) -> None:
        self._findings.add(difference(kind, field, values, shard_id=self._shard_id, portfolio_id=portfolio_id))


def advanced(book: Book | None, entries: Sequence[Entry]) -> Book | None:
    """The book after entries that follow it; None if there is neither. Raises Corrupt if they do not follow."""
    if not entries:
        return book
    version = _version(book)
    for number, entry in enumerate(entries, version + 1):
        if entry.version != number:
            raise Corrupt(f"version {number} is missing in the journal")
    try:
        return replay(book, entries)
    except (ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise Corrupt(f"what was booked after version {version} does not replay: {error}") from error


def _version(book: Book | None) -> int:
    return 0 if book is None else book.version


async def patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """The answer of a shard, which may be on the move. Raises ShardUnavailable if it stays away."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await call()
        except ShardUnavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_PAUSE_S)
