"""One portfolio while its rows are read in order: its book, and what the book was as of the checkpoint."""

from __future__ import annotations

from cluster.verifying.lineage import Lineage
from portfolio.book import Book
from portfolio.errors import Corrupt, PortfolioError
from portfolio.ids import PortfolioId, ShardId
from portfolio.invariants import check_book
from portfolio.ledger import Ledger
from portfolio.ports import StoredRow


class Life:
    """Recomputes a book. Once `is_sound` is false its rows do not add up, and there is nothing to compare with."""

    __slots__ = (
        "_as_of_checkpoint",
        "_checkpoint_seq",
        "_first_seq",
        "_ledger",
        "history",
        "is_sound",
        "owner",
        "rows",
    )

    def __init__(self, owner: ShardId | None, checkpoint_seq: int) -> None:
        self.owner = owner
        self._checkpoint_seq = checkpoint_seq
        self._ledger = Ledger(None)
        self._first_seq = 0
        self._as_of_checkpoint: Book | None = None
        self.is_sound = True
        self.rows = 0
        self.history = 0
        """A digest of the rows that were read, in their order."""

    @property
    def version(self) -> int:
        """The version that the rows so far lead to."""
        return self._ledger.version

    def enter(self, row: StoredRow) -> None:
        """Book a row whose version is the next. Raises Corrupt if that cannot be done."""
        if not self._first_seq:
            self._first_seq = row.seq
        elif row.seq > self._checkpoint_seq >= self._first_seq and self._as_of_checkpoint is None:
            self._keep_checkpoint()
        try:
            self._ledger.enter(row.entry)
        except (PortfolioError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
            raise Corrupt(f"cannot be booked: {error}") from error

    def _keep_checkpoint(self) -> None:
        self._as_of_checkpoint = self._ledger.book()
        # A book shares its positions with the ledger that made it, so another one goes on.
        self._ledger = Ledger(self._as_of_checkpoint)

    def remember(self, seq: int, row_hash: bytes) -> None:
        """Take a row into the digest, for a comparison with the same rows read another way."""
        self.rows += 1
        self.history = continued(self.history, seq, row_hash)

    def books(self) -> tuple[Book, Book | None]:
        """The book now, and as of the checkpoint if it was there then. Raises Corrupt for a book that breaks a law."""
        try:
            book = self._ledger.book()
            check_book(book)
        except (ArithmeticError, TypeError) as error:
            raise Corrupt(f"the book is no book: {error!r}") from error
        if self._first_seq > self._checkpoint_seq:
            return book, None
        return book, self._as_of_checkpoint or book


def continued(history: int, seq: int, row_hash: bytes) -> int:
    """The digest of a history and one row more; good within one process only."""
    return hash((history, seq, row_hash))


class Lives:
    """The portfolios that have been met and not been taken out. Those of a child shard are met in its parent's rows."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._lives: dict[PortfolioId, Life] = {}

    def of(self, portfolio_id: PortfolioId) -> Life:
        """The life of a portfolio, which begins with the first call."""
        life = self._lives.get(portfolio_id)
        if life is None:
            owner = self._lineage.owner_of(portfolio_id)
            checkpoint_seq = self._lineage.shards[owner].checkpoint_seq if owner is not None else 0
            life = self._lives[portfolio_id] = Life(owner, checkpoint_seq)
        return life

    def take(self, shard_id: ShardId) -> dict[PortfolioId, Life]:
        """The portfolios of one shard, taken out. One that stands only where it does not belong is none."""
        taken = {name: life for name, life in self._lives.items() if life.owner == shard_id}
        for portfolio_id in taken:
            del self._lives[portfolio_id]
        return {name: life for name, life in taken.items() if life.version or not life.is_sound}
