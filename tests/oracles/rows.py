"""Rows to append: the entries of commands decided one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from persistence import row_codec
from persistence.row_codec import Batch
from portfolio.book import Book
from portfolio.commands import Command, OpenPortfolio, UpdatePortfolio, request_hash
from portfolio.decide import decide
from portfolio.ids import IdempotencyKey, PortfolioId
from portfolio.ports import Head, PendingRow
from portfolio.steps import drained
from portfolio.transactions import Transaction
from tests.oracles.builders import NOW, deposit


class Scribe:
    """Decides commands as the shard would, and writes their rows. `books` are the books after all of them."""

    def __init__(self, now: datetime = NOW) -> None:
        self.books: dict[PortfolioId, Book] = {}
        self._now = now

    def rows(self, command: Command) -> list[PendingRow]:
        """The rows of a command, its key on all of them and its hash on the first."""
        decision = decide(self.books.get(command.portfolio_id), command, now=self._now)
        self.books[command.portfolio_id] = decision.book
        key = command.idempotency_key
        first, *rest = decision.entries
        content = None if key is None else request_hash(command)
        return [PendingRow(first, key, content), *(PendingRow(entry, key) for entry in rest)]

    def undo(self, book: Book) -> None:
        """Go back to `book`, because what was written after it was not appended."""
        self.books[book.portfolio_id] = book


def portfolio(number: int) -> PortfolioId:
    """The id of the portfolio of that number."""
    return PortfolioId(f"P-{number}")


def opened(number: int, *, key: str | None = None, cash: str = "0") -> OpenPortfolio:
    """The opening of the portfolio of that number."""
    return OpenPortfolio(
        portfolio_id=portfolio(number),
        portfolio_name=f"Portfolio {number}",
        cash_balance=Decimal(cash),
        idempotency_key=None if key is None else IdempotencyKey(key),
    )


def updated(
    number: int, *transactions: Transaction, key: str | None = None, transaction_id: UUID | None = None
) -> UpdatePortfolio:
    """An update of the portfolio of that number; of a deposit of 1 if nothing is named."""
    items = transactions or (deposit("1"),)
    if transaction_id is not None:
        items = (replace(items[0], transaction_id=transaction_id), *items[1:])
    return UpdatePortfolio(
        portfolio_id=portfolio(number),
        transactions=items,
        idempotency_key=None if key is None else IdempotencyKey(key),
    )


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


def encoded(rows: Sequence[PendingRow], head: Head) -> Batch:
    """Rows as they follow `head`, encoded all at once."""
    return drained(row_codec.encoding(rows, head))
