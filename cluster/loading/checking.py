"""Checks rows against the accounting rules: each portfolio is simulated from its present book."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from cluster.loading.chunks import Chunk, by_portfolio, chunks_of, key_of
from cluster.loading.gateway import LoadGateway
from cluster.loading.parquet_file import FLOATS_NOTE
from cluster.loading.report import Problem, Problems
from cluster.loading.rows import Item
from cluster.loading.simulating import simulate
from cluster.patience import Patience, patiently
from portfolio.book import Book
from portfolio.commands import OpenPortfolio
from portfolio.decide import decide
from portfolio.errors import (
    InsufficientPosition,
    InvalidRequest,
    PortfolioError,
    PortfolioNotFound,
    PortfolioQuarantined,
    ShortNotAllowed,
    StatusForbids,
)
from portfolio.ids import PortfolioId

T = TypeVar("T")
PORTFOLIOS_MAX: Final = 100_000
"""Portfolios in one file; the check holds a book of each."""
QUESTIONS_AT_ONCE: Final = 32
KEYS_PER_QUESTION_MAX: Final = 1_000
_BLAMED: Final[dict[type[PortfolioError], str]] = {
    InsufficientPosition: "quantity_change",
    ShortNotAllowed: "quantity_change",
    StatusForbids: "portfolio_id",
    PortfolioNotFound: "portfolio_id",
}
"""The field that an error is about, where it does not say so itself."""


@dataclass(slots=True)
class Account:
    """One portfolio of the file.

    `opening` is set if it has to be opened, `book` unless it cannot be. Of its chunks the first `chunks_known` are
    booked already: chunks are booked in order.
    """

    portfolio_id: PortfolioId
    opening: OpenPortfolio | None
    book: Book | None
    version: int
    chunks_seen: int = 0
    chunks_known: int = 0


class Checker:
    """Checks blocks of rows, in order. Fills `accounts` with what booking needs, and `problems` with what is wrong."""

    def __init__(
        self,
        gateway: LoadGateway,
        problems: Problems,
        *,
        digest: str,
        repeated_ids: Collection[UUID],
        float_columns: Collection[str],
        patience: Patience,
        now: datetime,
    ) -> None:
        self.accounts: dict[PortfolioId, Account] = {}
        self._gateway = gateway
        self._problems = problems
        self._digest = digest
        self._repeated_ids = repeated_ids
        self._ids_seen: set[UUID] = set()
        self._float_columns = float_columns
        self._patience = patience
        self._now = now
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    async def check(self, items: Sequence[Item]) -> None:
        """Check the rows of a block that have the right form. Raises ShardUnavailable at the end of patience."""
        rows = by_portfolio(self._without_repeated_ids(items))
        new = [portfolio_id for portfolio_id in rows if portfolio_id not in self.accounts]
        if len(self.accounts) + len(new) > PORTFOLIOS_MAX:
            raise InvalidRequest(f"the file has more than {PORTFOLIOS_MAX:,} portfolios")
        books = await asyncio.gather(*(self._book(it) for it in new))
        for portfolio_id, book in zip(new, books, strict=True):
            self.accounts[portfolio_id] = self._account(portfolio_id, book, rows[portfolio_id])
        chunks = [(self.accounts[portfolio_id], list(chunks_of(found))) for portfolio_id, found in rows.items()]
        await asyncio.gather(*(self._find_known(account, len(found)) for account, found in chunks))
        for account, found in chunks:
            self._simulate(account, found)

    async def _book(self, portfolio_id: PortfolioId) -> Book | PortfolioQuarantined | None:
        try:
            return await self._ask(partial(self._gateway.book, portfolio_id))
        except PortfolioQuarantined as error:
            return error

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        async with self._questions:
            return await patiently(question, self._patience)

    def _without_repeated_ids(self, items: Sequence[Item]) -> Iterator[Item]:
        for item in items:
            given = item.transaction.transaction_id
            if given in self._ids_seen:
                error = InvalidRequest(f"transaction_id {given} stands in a row before", field="transaction_id")
                self._refuse(item, error)
                continue
            if given is not None and given in self._repeated_ids:
                self._ids_seen.add(given)
            yield item

    def _account(
        self, portfolio_id: PortfolioId, book: Book | PortfolioQuarantined | None, items: Sequence[Item]
    ) -> Account:
        if isinstance(book, Book):
            return Account(portfolio_id, None, book, book.version)
        naming = next((item for item in items if "portfolio_name" in item.opening), None)
        try:
            if book is not None:
                raise book
            if naming is None:
                raise PortfolioNotFound(f"there is no portfolio {portfolio_id}: give a portfolio_name to open it")
            opening = OpenPortfolio(portfolio_id=portfolio_id, **naming.opening)
            return Account(portfolio_id, opening, decide(None, opening, now=self._now).book, 0)
        except PortfolioError as error:
            # Once, not for every row: they all wait for the same.
            self._refuse(naming or items[0], error)
            return Account(portfolio_id, None, None, 0)

    async def _find_known(self, account: Account, count: int) -> None:
        """Learn how many of the next `count` chunks are booked, unless one before them is not."""
        first, end = account.chunks_seen, account.chunks_seen + count
        account.chunks_seen = end
        if account.opening is not None or account.book is None:
            return
        while account.chunks_known == first < end:
            numbers = range(first, min(first + KEYS_PER_QUESTION_MAX, end))
            keys = [key_of(self._digest, account.portfolio_id, number) for number in numbers]
            known = await self._ask(partial(self._gateway.known_keys, account.portfolio_id, keys))
            booked = next((place for place, key in enumerate(keys) if key not in known), len(keys))
            account.chunks_known += booked
            first = numbers.stop

    def _simulate(self, account: Account, chunks: Sequence[Chunk]) -> None:
        number = account.chunks_seen - len(chunks)
        for chunk in chunks[max(0, account.chunks_known - number) :]:
            for item in chunk:
                self._check_opening(account, item)
            if account.book is not None:
                account.book, refusals = simulate(account.book, chunk, now=self._now)
                for item, error in refusals:
                    self._refuse(item, error)

    def _check_opening(self, account: Account, item: Item) -> None:
        for field, wanted in item.opening.items():
            found = getattr(account.opening, field, wanted)
            if found != wanted:
                detail = f"{field} is {wanted!r}, expected {found!r} as where {account.portfolio_id} is first named"
                self._refuse(item, InvalidRequest(detail, field=field))
                return

    def _refuse(self, item: Item, error: PortfolioError) -> None:
        field = error.cause.get("field") or _BLAMED.get(type(error))
        reason = error.detail
        if field in self._float_columns and isinstance(error, InvalidRequest):
            reason += f" {FLOATS_NOTE}"
        self._problems.add_row(
            [
                Problem(
                    portfolio_id=item.portfolio_id, line=item.line, field=str(field) if field else None, reason=reason
                )
            ]
        )
