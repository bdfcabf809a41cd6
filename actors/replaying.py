"""The journal's tail on top of the checkpoint; a book that does not stand this becomes suspect, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from actors.rebuilding import enter
from portfolio.book import Book
from portfolio.errors import Corrupt
from portfolio.ids import PortfolioId
from portfolio.invariants import check_book
from portfolio.ledger import Ledger
from portfolio.ports import DamagedRow, SavedBooks, StoredRow


@dataclass(slots=True)
class _Suspect:
    """What is wrong with a book, the version it had come to (None: not known), and those of its rows since."""

    reason: str
    version: int | None = None
    versions: list[int] = field(default_factory=list)
    is_damaged: bool = False

    @property
    def has_gap(self) -> bool:
        if self.version is None:
            return False
        first = self.version + 1
        return sorted(self.versions) != list(range(first, first + len(self.versions)))


class Replay:
    """Ledgers of the portfolios with rows in the tail.

    Those in quarantine are suspect from the beginning: the checkpoint has passed them by. Rows of portfolios that are not
    `is_mine` are from before a split, and another shard's now. Books of the checkpoint that are `sound` were checked before.
    """

    def __init__(
        self,
        saved: SavedBooks,
        quarantined: Mapping[PortfolioId, str],
        is_mine: Callable[[PortfolioId], bool],
        sound: frozenset[PortfolioId] = frozenset(),
    ) -> None:
        self._is_mine = is_mine
        self._sound = sound
        self._saved = saved.books
        self._ledgers: dict[PortfolioId, Ledger] = {}
        known = {**saved.unreadable, **quarantined}
        self._suspects = {portfolio_id: _Suspect(reason) for portfolio_id, reason in known.items()}
        self.rows = 0

    @property
    def changed(self) -> frozenset[PortfolioId]:
        """Portfolios with rows in the tail that are not suspect."""
        return frozenset(self._ledgers)

    @property
    def suspects(self) -> Mapping[PortfolioId, str]:
        """What is wrong with each book that failed."""
        return {portfolio_id: suspect.reason for portfolio_id, suspect in self._suspects.items()}

    def enter(self, row: StoredRow | DamagedRow) -> None:
        """Book the next row of the tail."""
        self.rows += 1
        if isinstance(row, DamagedRow):
            self._check_mine(row)
            suspect = self._suspect(row.portfolio_id, row.reason)
            suspect.versions.append(row.version)
            suspect.is_damaged = True
        elif row.entry.portfolio_id in self._suspects:
            self._suspects[row.entry.portfolio_id].versions.append(row.entry.version)
        elif self._is_mine(row.entry.portfolio_id):
            self._book(row)

    def _check_mine(self, row: DamagedRow) -> None:
        if not self._is_mine(row.portfolio_id):
            raise Corrupt(
                f"{row.reason}: {row.portfolio_id} is another shard's, and the row may be another portfolio's"
            )

    def _book(self, row: StoredRow) -> None:
        portfolio_id = row.entry.portfolio_id
        ledger = self._ledgers.get(portfolio_id)
        if ledger is None:
            ledger = self._ledgers[portfolio_id] = Ledger(self._saved.get(portfolio_id))
        try:
            enter(row, ledger)
        except Corrupt as error:
            self._suspect(portfolio_id, error.detail).versions.append(row.entry.version)

    def _suspect(self, portfolio_id: PortfolioId, reason: str) -> _Suspect:
        known = self._suspects.get(portfolio_id)
        if known is not None:
            return known
        ledger = self._ledgers.pop(portfolio_id, None) or Ledger(self._saved.get(portfolio_id))
        suspect = self._suspects[portfolio_id] = _Suspect(reason, ledger.version)
        return suspect

    def books(self) -> dict[PortfolioId, Book]:
        """The sound books at the tail's end; those that break an invariant become suspects.

        Raises Corrupt if a damaged row may be another portfolio's than it says.
        """
        self._check_whose()
        untouched = self._sound - self._ledgers.keys() - self._suspects.keys()
        books = {portfolio_id: self._saved[portfolio_id] for portfolio_id in untouched}
        for portfolio_id in (self._saved.keys() | self._ledgers.keys()) - self._suspects.keys() - books.keys():
            try:
                ledger = self._ledgers.get(portfolio_id)
                book = self._saved[portfolio_id] if ledger is None else ledger.book()
                check_book(book)
                books[portfolio_id] = book
            except (Corrupt, ArithmeticError) as error:
                self._suspect(portfolio_id, str(error))
        return books

    def _check_whose(self) -> None:
        """A damaged row may name the wrong portfolio, and the right one would be served without it.

        Where the versions leave a gap, one row too many or too few says that this may have happened.
        """
        for portfolio_id, suspect in self._suspects.items():
            if suspect.is_damaged and suspect.has_gap:
                raise Corrupt(
                    f"{suspect.reason}, and versions {sorted(suspect.versions)[:5]} do not follow version "
                    f"{suspect.version} of {portfolio_id}: it may be another portfolio's",
                    portfolio_id=portfolio_id,
                )
