"""One book from all of its journal rows, for a portfolio whose checkpoint or tail cannot be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from actors.pacing import Pacer
from portfolio.book import Book
from portfolio.errors import Corrupt, PortfolioError, PortfolioQuarantined
from portfolio.ids import PortfolioId
from portfolio.invariants import check_book
from portfolio.ledger import Ledger
from portfolio.ports import DamagedRow, Journal, RequestKey, StoredRow


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A book as all of its rows have it, and the request hashes in them."""

    book: Book
    hashes: Mapping[RequestKey, bytes]


class Rebuilding:
    """A book while its rows are entered, from the first one on."""

    def __init__(self, portfolio_id: PortfolioId) -> None:
        self._portfolio_id = portfolio_id
        self._ledger = Ledger(None)
        self._hashes: dict[RequestKey, bytes] = {}

    def enter(self, row: StoredRow | DamagedRow) -> None:
        """Book the next row. Raises Corrupt, naming what is wrong with it."""
        if isinstance(row, DamagedRow):
            raise Corrupt(row.reason, portfolio_id=self._portfolio_id)
        enter(row, self._ledger)
        if row.idempotency_key is not None and row.request_hash is not None:
            self._hashes[self._portfolio_id, row.idempotency_key] = row.request_hash

    def rebuilt(self) -> Rebuilt:
        """What all rows come to. Raises Corrupt if there were none, or if it breaks an invariant."""
        try:
            book = self._ledger.book()
            check_book(book)
        except ArithmeticError as error:
            raise Corrupt(f"portfolio {self._portfolio_id} cannot be computed: {error!r}") from error
        return Rebuilt(book, self._hashes)


def enter(row: StoredRow, ledger: Ledger) -> None:
    """Book a row that must be the ledger's next. Raises Corrupt if it is not, or cannot be booked."""
    entry = row.entry
    if entry.version != ledger.version + 1:
        raise Corrupt(
            f"journal row {row.seq} has version {entry.version} of {entry.portfolio_id}, expected {ledger.version + 1}",
            portfolio_id=entry.portfolio_id,
        )
    try:
        ledger.enter(entry)
    # The rows before it may have led to any state, and one that was mended by hand may say anything.
    except (PortfolioError, ArithmeticError, TypeError) as error:
        raise Corrupt(f"journal row {row.seq} cannot be booked: {error}", portfolio_id=entry.portfolio_id) from error


async def rebuilt(portfolio_id: PortfolioId, journal: Journal, pacer: Pacer) -> Rebuilt:
    """The book at the newest version in the journal. Raises PortfolioQuarantined if its rows do not give a sound one."""
    rebuilding = Rebuilding(portfolio_id)
    try:
        async with aclosing(journal.life(portfolio_id)) as rows:
            async for row in rows:
                rebuilding.enter(row)
                if pacer.is_due():
                    await pacer.rest()
        return rebuilding.rebuilt()
    except Corrupt as error:
        raise PortfolioQuarantined(error.detail, portfolio_id=portfolio_id) from error
