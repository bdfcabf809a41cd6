"""Reads a shard's journal in order and says what is wrong with it, while the books are recomputed from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.verifying.command_order import CommandOrder
from cluster.verifying.findings import Findings, Kind, Values, difference
from cluster.verifying.life import Life, Lives
from cluster.verifying.lineage import Lineage
from persistence.audit_values import DamagedRow, ShardRecord
from persistence.row_codec import decode, rehashed
from portfolio.book import Book
from portfolio.entries import Booked, Entry
from portfolio.errors import Corrupt
from portfolio.ids import PortfolioId
from portfolio.ports import StoredRow

_TRANSACTION: Final = slice(6, 14)
_NO_TRANSACTION: Final = (None, False, None, None, None, None, None, None)
_DETAIL: Final = 14
"""Places of columns in select_journal_tail."""


@dataclass(slots=True)
class Recomputed:
    """What the journal says of a shard's portfolios, now and as of its checkpoint (None: not opened by then).

    `unsound` are those whose rows do not add up to a book, so that there is nothing to compare with.
    """

    books: dict[PortfolioId, Book] = field(default_factory=dict)
    as_of_checkpoint: dict[PortfolioId, Book | None] = field(default_factory=dict)
    unsound: set[PortfolioId] = field(default_factory=set)
    histories: dict[PortfolioId, tuple[int, int]] = field(default_factory=dict)
    """Of each portfolio, how many rows were read, and their digest; kept for a deep verification only."""


class ShardWalk:
    """One shard's rows, given in order. Shards are walked parents first, and share `lives`."""

    def __init__(self, record: ShardRecord, lineage: Lineage, lives: Lives, findings: Findings, *, deep: bool) -> None:
        self._record = record
        self._children = lineage.children(record.shard_id)
        self._last_rows = lineage.last_rows(record.shard_id)
        self._lives = lives
        self._findings = findings
        self._commands = CommandOrder() if deep else None
        self._seq = record.branch.seq
        self._hash: bytes | None = record.branch.row_hash
        self._epoch = 0
        self._branch_seqs = {child.branch.seq for child in self._children}
        self._branch_hashes = {record.branch.seq: record.branch.row_hash}

    def take(self, rows: Iterable[tuple[Any, ...] | DamagedRow]) -> None:
        """Check the next rows and book them."""
        for columns in rows:
            try:
                row = decode(_readable(columns))
            except Corrupt as error:
                self._take_damaged(columns, str(error))
            else:
                if _holds_more(columns, row.entry):
                    surplus = "holds values that a row of its kind does not have"
                    self._find(Kind.JOURNAL_HASH, surplus, seq=row.seq, portfolio_id=row.entry.portfolio_id)
                self._take(row)

    def _take(self, row: StoredRow) -> None:
        portfolio_id = row.entry.portfolio_id
        if not self._is_in_place(row.seq, row.epoch, portfolio_id):
            return
        # After a gap the hash before is not known: the chain is taken up again with this row.
        if self._hash is not None and rehashed(row, self._hash) != row.row_hash:
            self._find(Kind.JOURNAL_HASH, "content and hash do not match", seq=row.seq, portfolio_id=portfolio_id)
        self._pass(row.seq, row.row_hash)
        life = self._life(row.seq, portfolio_id)
        if life is None:
            return
        if self._commands is not None:
            life.remember(row.seq, row.row_hash)
            if (problem := self._commands.problem(row)) is not None:
                self._find(Kind.JOURNAL_KEY, problem, seq=row.seq, portfolio_id=portfolio_id)
        if life.is_sound:
            self._book(life, row)

    def _book(self, life: Life, row: StoredRow) -> None:
        version, portfolio_id = row.entry.version, row.entry.portfolio_id
        if version != life.version + 1:
            life.is_sound = False
            self._find(
                Kind.JOURNAL_VERSION, "version", (life.version + 1, version), seq=row.seq, portfolio_id=portfolio_id
            )
            return
        try:
            life.enter(row)
        except Corrupt as error:
            life.is_sound = False
            self._find(Kind.JOURNAL_BOOKING, error.detail, seq=row.seq, portfolio_id=portfolio_id)

    def _take_damaged(self, columns: tuple[Any, ...] | DamagedRow, reason: str) -> None:
        if isinstance(columns, DamagedRow):
            seq, epoch, portfolio_id, row_hash = columns.seq, columns.epoch, columns.portfolio_id, columns.row_hash
        else:
            seq, epoch, portfolio_id, row_hash = columns[0], columns[1], columns[3], columns[-1]
        self._find(Kind.JOURNAL_UNREADABLE, reason, seq=seq, portfolio_id=portfolio_id)
        if self._is_in_place(seq, epoch, portfolio_id):
            # Its own hash is taken on trust, so that the rows after it can be checked.
            self._pass(seq, row_hash)
            life = self._life(seq, portfolio_id)
            if life is not None:
                life.is_sound = False

    def _is_in_place(self, seq: int, epoch: int, portfolio_id: PortfolioId) -> bool:
        first = self._record.branch.seq + 1
        if seq < first:
            self._find(Kind.JOURNAL_ORDER, "first row of the shard", (first, seq), seq=seq, portfolio_id=portfolio_id)
            return False
        if seq != self._seq + 1:
            missing = str(seq - 1) if seq == self._seq + 2 else f"{self._seq + 1} to {seq - 1}"
            self._find(Kind.JOURNAL_GAP, f"missing before it: {missing}", seq=seq)
            self._hash = None
        if epoch < self._epoch:
            self._find(
                Kind.JOURNAL_EPOCH, "epoch", (f"{self._epoch} or later", epoch), seq=seq, portfolio_id=portfolio_id
            )
        elif epoch > self._record.epoch:
            self._find(
                Kind.JOURNAL_EPOCH,
                "epoch",
                (f"at most {self._record.epoch}", epoch),
                seq=seq,
                portfolio_id=portfolio_id,
            )
        self._epoch = max(epoch, self._epoch)
        return True

    def _pass(self, seq: int, row_hash: bytes) -> None:
        self._seq, self._hash = seq, row_hash
        if seq in self._branch_seqs:
            self._branch_hashes[seq] = row_hash

    def _life(self, seq: int, portfolio_id: PortfolioId) -> Life | None:
        """The portfolio's life, if this row may be part of it."""
        life = self._lives.of(portfolio_id)
        if life.owner is not None and seq <= self._last_rows.get(life.owner, 0):
            return life
        self._find(Kind.JOURNAL_SHARD, "shard", (life.owner, self._record.shard_id), seq=seq, portfolio_id=portfolio_id)
        return None

    def finish(self) -> Recomputed:
        """Check where the journal ends and what branches off it; gives the books of this shard's portfolios."""
        self._check_head()
        for child in self._children:
            self._check_branch(child)
        recomputed = Recomputed()
        for portfolio_id, life in self._lives.take(self._record.shard_id).items():
            self._close(portfolio_id, life, recomputed)
        return recomputed

    def _check_head(self) -> None:
        head = self._record.head
        if self._seq != head.seq:
            self._find(Kind.JOURNAL_HEAD, "last row", (head.seq, self._seq))
        elif self._hash != head.row_hash:
            self._find(Kind.JOURNAL_HEAD, "hash of the last row", (head.row_hash, self._hash), seq=self._seq)
        if self._record.checkpoint_seq > head.seq:
            values = f"at most {head.seq}", self._record.checkpoint_seq
            self._find(Kind.CHECKPOINT_AHEAD, "checkpoint_seq", values)

    def _check_branch(self, child: ShardRecord) -> None:
        expected = self._branch_hashes.get(child.branch.seq)
        if expected != child.branch.row_hash:
            name = f"branch_hash, the hash of that row in shard {self._record.shard_id},"
            values = "a row that is there" if expected is None else expected, child.branch.row_hash
            branch = difference(Kind.JOURNAL_BRANCH, name, values, shard_id=child.shard_id, seq=child.branch.seq)
            self._findings.add(branch)

    def _close(self, portfolio_id: PortfolioId, life: Life, recomputed: Recomputed) -> None:
        if self._commands is not None:
            recomputed.histories[portfolio_id] = life.rows, life.history
        if life.is_sound:
            try:
                recomputed.books[portfolio_id], recomputed.as_of_checkpoint[portfolio_id] = life.books()
                return
            except Corrupt as error:
                self._find(Kind.JOURNAL_INVARIANT, error.detail, portfolio_id=portfolio_id)
        recomputed.unsound.add(portfolio_id)

    def _find(
        self,
        kind: Kind,
        field: str,
        values: Values | None = None,
        *,
        seq: int | None = None,
        portfolio_id: PortfolioId | None = None,
    ) -> None:
        shard_id = self._record.shard_id
        self._findings.add(difference(kind, field, values, shard_id=shard_id, seq=seq, portfolio_id=portfolio_id))


def _holds_more(columns: tuple[Any, ...] | DamagedRow, entry: Entry) -> bool:
    """Whether a row has values that mean nothing in it, and so are not in its hash."""
    if isinstance(columns, DamagedRow):
        return False
    if isinstance(entry, Booked):
        return entry.ratio is None and entry.mark is None and columns[_DETAIL] is not None
    return columns[_TRANSACTION] != _NO_TRANSACTION


def _readable(columns: tuple[Any, ...] | DamagedRow) -> tuple[Any, ...]:
    if isinstance(columns, DamagedRow):
        raise Corrupt(columns.reason)
    return columns
