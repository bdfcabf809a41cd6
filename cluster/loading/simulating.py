"""Which rows of an update the accounting rules refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cluster.loading.chunks import Chunk, update_of
from cluster.loading.rows import Item
from portfolio.book import Book
from portfolio.decide import decide
from portfolio.errors import PortfolioError

Refusal = tuple[Item, PortfolioError]


def simulate(book: Book, chunk: Chunk, *, now: datetime) -> tuple[Book, list[Refusal]]:
    """The book after an update, and every row that is refused; what follows such a row is judged as if it were not there.

    An update that is refused as a whole, for the cash it would leave, is refused at its last row.
    """
    try:
        return decide(book, update_of(book.portfolio_id, chunk), now=now).book, []
    except PortfolioError as error:
        refused_first = error
    # The minimum of cash is asked of the whole update. Without the refused rows nobody can say what it would have left.
    after, refusals = _without_refused(replace(book, min_cash=None), chunk, now)
    return replace(after, min_cash=book.min_cash), refusals or [(chunk[-1], refused_first)]


def _without_refused(book: Book, chunk: Chunk, now: datetime) -> tuple[Book, list[Refusal]]:
    refusals: list[Refusal] = []
    rest = list(chunk)
    while rest:
        try:
            return decide(book, update_of(book.portfolio_id, rest), now=now).book, refusals
        except PortfolioError as error:
            index = error.cause.get("index")
            if not isinstance(index, int):
                return book, [*refusals, (rest[-1], error)]
            refusals.append((rest[index], error))
            if index:
                book = decide(book, update_of(book.portfolio_id, rest[:index]), now=now).book
            rest = rest[index + 1 :]
    return book, refusals
