"""The ports of the shard in memory: a database that forgets nothing and a mirror, with faults that tests ask for."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from portfolio.book import Book, Mark, Position
from portfolio.entries import Booked
from portfolio.errors import Corrupt, Deposed, PortfolioError, ShardUnavailable
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import (
    NO_ROWS,
    Checkpoint,
    Claim,
    DamagedRow,
    DuplicateKeys,
    Fence,
    Head,
    MirrorUnavailable,
    PendingRow,
    Picture,
    RecordedMark,
    RequestKey,
    SavedBooks,
    StoredRow,
)

_BEGINNING = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class StoredShard:
    """What a database holds of one shard."""

    epoch: int = 0
    owner: str | None = None
    answering: str | None = None
    lease_s: float = 0.0
    modulus: int = 0
    branch: Head = NO_ROWS
    parent: StoredShard | None = None
    rows: list[StoredRow] = field(default_factory=list)
    checkpoint_seq: int = 0
    announced_seq: int = 0
    books: dict[PortfolioId, Book] = field(default_factory=dict)
    unreadable: dict[PortfolioId, str] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        """Where the journal ends."""
        return Head(self.rows[-1].seq, self.rows[-1].row_hash) if self.rows else self.branch

    def after(self, seq: int) -> list[StoredRow]:
        """The shard's own rows after one."""
        return [row for row in self.rows if row.seq > seq]

    def line_after(self, seq: int) -> list[StoredRow]:
        """The rows after one, those among them that were written before the shard branched off."""
        before = [] if self.parent is None else self.parent.line_after(seq)
        return [*(row for row in before if row.seq <= self.branch.seq), *self.after(seq)]


@contextmanager
def newest_row_damaged(shard: StoredShard, portfolio_id: PortfolioId) -> Iterator[None]:
    """Meanwhile the newest of a portfolio's rows in this shard, if it has one there, does not match its hash."""
    found = [number for number, row in enumerate(shard.rows) if row.entry.portfolio_id == portfolio_id]
    sound = {number: shard.rows[number] for number in found[-1:]}
    for number, row in sound.items():
        # Not its request hash: keys of rows that a checkpoint has are taken as they are.
        entry = replace(row.entry, recorded_at=row.entry.recorded_at + timedelta(microseconds=1))
        shard.rows[number] = replace(row, entry=entry)
    yield
    for number, row in sound.items():
        shard.rows[number] = row


class MemoryDatabase:
    """What Postgres is to the shards of a cluster."""

    def __init__(self) -> None:
        self.shards: dict[ShardId, StoredShard] = defaultdict(StoredShard)
        self.marks: dict[InstrumentId, RecordedMark] = {}
        self.shard_count = 1
        self.quarantine: dict[PortfolioId, tuple[ShardId, str]] = {}
        self._ticks = 0

    def tick(self) -> datetime:
        """A moment later than all before it."""
        self._ticks += 1
        return _BEGINNING + timedelta(milliseconds=self._ticks)

    def all_rows(self) -> Iterable[StoredRow]:
        """Every row of every journal."""
        return (row for shard in self.shards.values() for row in shard.rows)


class MemoryJournal:
    """ports.Journal. `failures` are raised by the next appends, one each; `gate`, while clear, holds appends up."""

    def __init__(self, database: MemoryDatabase, shard_id: ShardId, owner: str) -> None:
        self._database = database
        self._shard_id = shard_id
        self._shard = database.shards[shard_id]
        self._owner = owner
        self.epoch = 0
        self.failures: list[PortfolioError] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends: list[int] = []
        self.questions = 0
        self.is_silent = False

    async def claim(self) -> Claim:
        shard = self._shard
        shard.epoch += 1
        shard.owner = self._owner
        self.epoch = shard.epoch
        return await self.look()

    async def look(self) -> Claim:
        shard = self._shard
        answering = None if shard.answering == self._owner else shard.answering
        return Claim(
            epoch=shard.epoch,
            head=shard.head,
            checkpoint_seq=shard.checkpoint_seq,
            announced_seq=shard.announced_seq,
            modulus=self._modulus,
            branch=shard.branch,
            answering=answering,
            lease_s=shard.lease_s,
        )

    @property
    def _modulus(self) -> int:
        return self._shard.modulus or self._database.shard_count

    async def moduli(self) -> Mapping[ShardId, int]:
        return {found: shard.modulus or self._database.shard_count for found, shard in self._database.shards.items()}

    async def split(self, moving: Sequence[PortfolioId], actor: str) -> None:
        await self.renew()
        shard, modulus = self._shard, self._modulus
        if shard.checkpoint_seq != shard.head.seq:
            raise ShardUnavailable("the checkpoint is behind")
        sibling = self._database.shards[ShardId(self._shard_id + modulus)]
        sibling.modulus = shard.modulus = 2 * modulus
        sibling.branch, sibling.parent = shard.head, shard
        sibling.checkpoint_seq, sibling.announced_seq = shard.checkpoint_seq, shard.announced_seq
        sibling.books = {name: shard.books.pop(name) for name in moving if name in shard.books}
        sibling.unreadable = {name: shard.unreadable.pop(name) for name in moving if name in shard.unreadable}
        quarantine = self._database.quarantine
        for name in quarantine.keys() & set(moving):
            quarantine[name] = (ShardId(self._shard_id + modulus), quarantine[name][1])

    async def begin_answering(self, lease_s: float) -> None:
        await self.renew()
        self._shard.answering, self._shard.lease_s = self._owner, lease_s

    async def renew(self) -> None:
        if self.is_silent:
            raise ShardUnavailable("the database does not answer")
        await self.check_ownership()

    async def release(self, successor: str | None) -> None:
        await self.renew()
        self._shard.owner = self._shard.answering = None

    async def append(self, rows: Sequence[PendingRow]) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        await self.check_ownership()
        self._check_unique(rows)
        for row in rows:
            head = self._shard.head
            self._shard.rows.append(
                StoredRow(
                    seq=head.seq + 1,
                    epoch=self.epoch,
                    entry=row.entry,
                    idempotency_key=row.idempotency_key,
                    request_hash=row.request_hash,
                    row_hash=_chained(head.row_hash, row),
                )
            )
        self.appends.append(len(rows))

    def _check_unique(self, rows: Sequence[PendingRow]) -> None:
        stored = [PendingRow(row.entry, row.idempotency_key, row.request_hash) for row in self._database.all_rows()]
        versions, keys, transaction_ids = set(), set(), set()
        for row in (*stored, *rows):
            entry = row.entry
            version = (entry.portfolio_id, entry.version)
            if version in versions:
                raise Corrupt(f"version {version} repeats")
            versions.add(version)
            if row.request_hash is not None:
                if (entry.portfolio_id, row.idempotency_key) in keys:
                    raise DuplicateKeys(f"key {row.idempotency_key} repeats")
                keys.add((entry.portfolio_id, row.idempotency_key))
            if isinstance(entry, Booked) and entry.transaction_id_given:
                if entry.transaction_id in transaction_ids:
                    raise DuplicateKeys(f"transaction {entry.transaction_id} repeats")
                transaction_ids.add(entry.transaction_id)

    async def check_ownership(self) -> None:
        if self._shard.owner != self._owner:
            raise Deposed(f"{self._shard.owner} owns the shard, not {self._owner}")

    async def tail(self, claim: Claim, after_seq: int) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        heads = [NO_ROWS, *(Head(row.seq, row.row_hash) for row in self._shard.line_after(0))]
        found = [head for head in heads if head.seq == after_seq]
        if not found:
            raise Corrupt(f"row {after_seq}, where the checkpoint ends, is missing")
        (expected,) = found
        for row in [row for row in self._shard.line_after(after_seq) if row.seq <= claim.head.seq]:
            if row.seq != expected.seq + 1:
                raise Corrupt(f"row {row.seq} does not follow row {expected.seq}")
            examined = _examined(row, expected.row_hash)
            expected = Head(row.seq, row.row_hash)
            yield examined
        if expected != claim.head:
            await self.check_ownership()
            raise Corrupt(f"the journal ends at {expected.seq}, expected {claim.head.seq}")

    async def life(self, portfolio_id: PortfolioId) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        found: list[tuple[StoredRow, bytes]] = []
        for shard in self._database.shards.values():
            hashes = {row.seq: row.row_hash for row in shard.rows} | {shard.branch.seq: shard.branch.row_hash}
            mine = [row for row in shard.rows if row.entry.portfolio_id == portfolio_id]
            found += [(row, hashes.get(row.seq - 1, b"missing")) for row in mine]
        for row, previous in sorted(found, key=lambda pair: pair[0].entry.version):
            yield _examined(row, previous)

    async def recent_keys(self, after_seq: int) -> Mapping[RequestKey, bytes]:
        return _keys(self._shard.after(after_seq))

    async def find_keys(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, bytes]:
        self.questions += 1
        known = _keys(self._database.all_rows())
        return {key: known[key] for key in keys if key in known}

    async def find_transaction_ids(self, ids: Iterable[UUID]) -> frozenset[UUID]:
        entries = [row.entry for row in self._database.all_rows()]
        given = {item.transaction_id for item in entries if isinstance(item, Booked) and item.transaction_id_given}
        return frozenset(given.intersection(ids))

    async def unannounced(self, after_seq: int) -> Sequence[PortfolioId]:
        return list({row.entry.portfolio_id: None for row in self._shard.line_after(after_seq)})


def _keys(rows: Iterable[StoredRow]) -> dict[RequestKey, bytes]:
    return {
        (row.entry.portfolio_id, row.idempotency_key): row.request_hash
        for row in rows
        if row.idempotency_key is not None and row.request_hash is not None
    }


def _examined(row: StoredRow, previous: bytes) -> StoredRow | DamagedRow:
    if row.row_hash == _chained(previous, PendingRow(row.entry, row.idempotency_key, row.request_hash)):
        return row
    reason = f"journal row {row.seq} does not match its hash"
    return DamagedRow(row.seq, row.entry.portfolio_id, row.entry.version, reason, row.row_hash)


def _chained(previous: bytes, row: PendingRow) -> bytes:
    return hashlib.sha256(previous + repr(row).encode()).digest()


class MemoryCheckpointStore:
    """ports.CheckpointStore. `failures` are raised by the next saves; `lost_answers` after storing what was given."""

    def __init__(self, database: MemoryDatabase, shard_id: ShardId) -> None:
        self._shard_id = shard_id
        self._shard = database.shards[shard_id]
        self._quarantine = database.quarantine
        self.failures: list[PortfolioError] = []
        self.lost_answers: list[PortfolioError] = []
        self.saves: list[Checkpoint] = []

    async def load(self) -> SavedBooks:
        stored, unreadable = self._shard.books, self._shard.unreadable
        books = {name: book for name, book in stored.items() if name not in unreadable}
        positions = {name: frozenset(book.positions) for name, book in stored.items()}
        return SavedBooks(self._shard.checkpoint_seq, books, dict(unreadable), positions, await self.quarantined())

    async def load_changed(self, after_seq: int) -> SavedBooks:
        loaded = await self.load()
        changed = {row.entry.portfolio_id for row in self._shard.after(after_seq) if row.seq <= loaded.seq}
        return SavedBooks(
            loaded.seq,
            {name: book for name, book in loaded.books.items() if name in changed},
            {name: reason for name, reason in loaded.unreadable.items() if name in changed},
            {name: held for name, held in loaded.positions.items() if name in changed},
            loaded.quarantined,
        )

    async def quarantined(self) -> Mapping[PortfolioId, str]:
        return {name: reason for name, (shard, reason) in self._quarantine.items() if shard == self._shard_id}

    async def set_apart(self, reasons: Mapping[PortfolioId, str], epoch: int) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if epoch != self._shard.epoch:
            raise Deposed(f"epoch {epoch} was superseded by {self._shard.epoch}")
        self._quarantine.update({name: (self._shard_id, reason) for name, reason in reasons.items()})

    async def save(self, checkpoint: Checkpoint, epoch: int) -> None:
        books = [valued.book for valued in checkpoint.books]
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        if epoch != self._shard.epoch:
            raise Deposed(f"epoch {epoch} was superseded by {self._shard.epoch}")
        for book in books:
            self._shard.books[book.portfolio_id] = _merged(self._shard.books.get(book.portfolio_id), book)
            self._shard.unreadable.pop(book.portfolio_id, None)
        for portfolio_id, gone in checkpoint.closed:
            stored = self._shard.books[portfolio_id]
            positions = {name: position for name, position in stored.positions.items() if name != gone}
            self._shard.books[portfolio_id] = _with_positions(stored, positions)
        for released in checkpoint.released:
            self._quarantine.pop(released, None)
        self._shard.checkpoint_seq = checkpoint.seq
        self._shard.announced_seq = checkpoint.announced_seq
        self.saves.append(checkpoint)
        if self.lost_answers:
            raise self.lost_answers.pop(0)


def _merged(stored: Book | None, book: Book) -> Book:
    """Positions stay until they are named as closed, as rows of a table do."""
    return book if stored is None else _with_positions(book, {**stored.positions, **book.positions})


def _with_positions(book: Book, positions: Mapping[InstrumentId, Position]) -> Book:
    return replace(book, positions=positions)


class MemoryMarkStore:
    """ports.MarkStore."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.failures: list[PortfolioError] = []

    async def record(self, marks: Mapping[InstrumentId, Mark]) -> frozenset[InstrumentId]:
        accepted = set()
        for instrument_id, mark in marks.items():
            known = self._database.marks.get(instrument_id)
            if known is None or mark.time > known.mark.time:
                self._database.marks[instrument_id] = RecordedMark(instrument_id, mark, self._database.tick())
                accepted.add(instrument_id)
        return frozenset(accepted)

    async def since(self, moment: datetime) -> Sequence[RecordedMark]:
        if self.failures:
            raise self.failures.pop(0)
        found = [recorded for recorded in self._database.marks.values() if recorded.recorded_at >= moment]
        return sorted(found, key=lambda recorded: recorded.recorded_at)


class MemoryMirror:
    """ports.Mirror. While `is_down`, every call fails; `lost_answers` calls do their work and then fail."""

    def __init__(self) -> None:
        self.pictures: dict[PortfolioId, Picture] = {}
        self.events: list[bytes] = []
        self.epochs: dict[ShardId, int] = {}
        self.is_down = False
        self.lost_answers = 0
        self.run = "first"

    async def server_run(self) -> str:
        await self._answer()
        return self.run

    async def show(self, pictures: Sequence[Picture]) -> None:
        await self._answer()
        for picture in pictures:
            shown = self.pictures.get(picture.portfolio_id)
            if shown is None or (shown.version, shown.revaluation) <= (picture.version, picture.revaluation):
                self.pictures[picture.portfolio_id] = picture

    async def announce(self, events: Sequence[bytes], fence: Fence) -> None:
        await self._answer()
        if events and fence.epoch < self.epochs.get(fence.shard_id, 0):
            raise MirrorUnavailable("a later epoch announces now")
        self.epochs[fence.shard_id] = fence.epoch
        self.events.extend(events)
        if self.lost_answers:
            self.lost_answers -= 1
            raise MirrorUnavailable("the answer was lost")

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise MirrorUnavailable("it is down")


class HangingMirror(MemoryMirror):
    """Announces nothing before `gate` is open; `asked` says that it has been asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def announce(self, events: Sequence[bytes], fence: Fence) -> None:
        self.asked.set()
        await self.gate.wait()
        await super().announce(events, fence)
