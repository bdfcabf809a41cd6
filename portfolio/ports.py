"""What the shard needs of the world, as narrow protocols, and the values that pass through them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from portfolio.book import Book, Mark
from portfolio.entries import Entry
from portfolio.errors import PortfolioError
from portfolio.ids import IdempotencyKey, InstrumentId, PortfolioId, ShardId
from portfolio.valuation import Valuation

RequestKey = tuple[PortfolioId, IdempotencyKey]


class DuplicateKeys(PortfolioError):
    """The append holds an idempotency key or a caller's transaction id that the journal has. Nothing was appended."""

    code = "duplicate-keys"


@dataclass(frozen=True, slots=True)
class Head:
    """Where a shard's journal ends: the last row's number (0: none) and hash."""

    seq: int
    row_hash: bytes


NO_ROWS: Final = Head(0, b"")


@dataclass(frozen=True, slots=True)
class Claim:
    """What an incarnation learns when it takes a shard. Rows up to `announced_seq` have reached the event stream.

    `answering` names another incarnation that may go on answering for up to `lease_s` after the claim; None if none may.
    The shard holds the portfolios that `modulus` maps to it. Its own rows follow `branch`, a row of the shard that it came
    of when the shards were doubled; one that was there from the beginning has rows from the first.
    """

    epoch: int
    head: Head
    checkpoint_seq: int
    announced_seq: int
    modulus: int
    branch: Head = NO_ROWS
    answering: str | None = None
    lease_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An entry to append. All rows of a command bear its key; the first alone has the request's hash."""

    entry: Entry
    idempotency_key: IdempotencyKey | None = None
    request_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """An entry as the journal holds it."""

    seq: int
    epoch: int
    entry: Entry
    idempotency_key: IdempotencyKey | None
    request_hash: bytes | None
    row_hash: bytes


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row that is in its place, and whose content cannot be read or does not match its hash."""

    seq: int
    portfolio_id: PortfolioId
    version: int
    reason: str
    row_hash: bytes


@dataclass(frozen=True, slots=True)
class SavedBooks:
    """What a checkpoint holds, as of row `seq`. `unreadable` says why a book cannot be read; `positions` are those of all, readable or not.

    `quarantined` are the portfolios set apart at that moment: the checkpoint may have passed by rows of theirs, and of no others.
    """

    seq: int
    books: Mapping[PortfolioId, Book]
    unreadable: Mapping[PortfolioId, str]
    positions: Mapping[PortfolioId, frozenset[InstrumentId]]
    quarantined: Mapping[PortfolioId, str]


@dataclass(frozen=True, slots=True)
class ValuedBook:
    """A book with its figures, as the checkpoint stores them."""

    book: Book
    valuation: Valuation


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The books that changed up to `seq`, and the positions that left them since the checkpoint before.

    `books` is read once, a few at a time, so that no more are valued at once than are written. `released` are those of
    them that are in quarantine no longer.
    """

    seq: int
    announced_seq: int
    books: Iterable[ValuedBook]
    closed: Sequence[tuple[PortfolioId, InstrumentId]]
    released: Sequence[PortfolioId] = ()


@dataclass(frozen=True, slots=True)
class RecordedMark:
    """A market mark, and when the database took it."""

    instrument_id: InstrumentId
    mark: Mark
    recorded_at: datetime


class Journal(Protocol):
    """The write-ahead log of one shard, as its owner uses it."""

    async def claim(self) -> Claim:
        """Take the shard; whoever owned it can append no more. Raises Deposed if it is meant for another actor."""

    async def look(self) -> Claim:
        """What a claim would give now, without claiming. Raises Corrupt if there is no such shard."""

    async def begin_answering(self, lease_s: float) -> None:
        """Say that this owner serves now, under leases of that length. Raises Deposed or ShardUnavailable."""

    async def renew(self) -> None:
        """Prove to own the shard. Raises Deposed if another incarnation has taken it, ShardUnavailable if nobody can say."""

    async def split(self, moving: Sequence[PortfolioId], actor: str) -> None:
        """Double the modulus, and let a new shard, meant for `actor`, branch off here with the portfolios that go with it.

        The checkpoint must have reached the head. When it returns it is durable; a lost connection is settled inside.
        Raises Deposed or ShardUnavailable, after which nothing has changed.
        """

    async def moduli(self) -> Mapping[ShardId, int]:
        """The modulus of every shard."""

    async def release(self, successor: str | None) -> None:
        """Let go of the shard, to the actor of that name if one is given. Raises Deposed or ShardUnavailable."""

    async def append(self, rows: Sequence[PendingRow]) -> None:
        """Commit `rows` after the head. When it returns they are durable; when it raises, none of them is.

        A lost connection is settled inside: it returns or raises only once the outcome is known.
        Raises DuplicateKeys, ShardUnavailable (may be tried again) or Deposed.
        """

    async def check_ownership(self) -> None:
        """Raises Deposed if another incarnation has taken the shard."""

    def tail(self, claim: Claim, after_seq: int) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        """Rows from after `after_seq` to the claim's head, in order, each checked against its hash, the chain going on from
        the stored one.

        Raises Corrupt if a row is missing or the end is not the claim's.
        """

    def life(self, portfolio_id: PortfolioId) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        """All rows of one portfolio, of whatever shard, by version, each checked against its hash."""

    async def recent_keys(self, after_seq: int) -> Mapping[RequestKey, bytes]:
        """Request hashes of the keys used after `after_seq`."""

    async def find_keys(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, bytes]:
        """Request hashes of those keys that were used."""

    async def find_transaction_ids(self, ids: Iterable[UUID]) -> frozenset[UUID]:
        """Those ids that callers gave to transactions already booked."""

    async def unannounced(self, after_seq: int) -> Sequence[PortfolioId]:
        """Portfolios with rows after `after_seq`, those among them that were written before this shard branched off."""


class CheckpointStore(Protocol):
    """The books of one shard as of some row of its journal, and those that the checkpoint passes by."""

    async def load(self) -> SavedBooks:
        """Every book, as of the newest checkpoint."""

    async def load_changed(self, after_seq: int) -> SavedBooks:
        """The books that rows after `after_seq` changed, as of the newest checkpoint."""

    async def save(self, checkpoint: Checkpoint, epoch: int) -> None:
        """Store a checkpoint, whole or not at all. Raises Deposed if `epoch` no longer owns the shard."""

    async def quarantined(self) -> Mapping[PortfolioId, str]:
        """The shard's portfolios that are in quarantine, and why."""

    async def set_apart(self, reasons: Mapping[PortfolioId, str], epoch: int) -> None:
        """Put portfolios into quarantine. Raises Deposed if `epoch` no longer owns the shard."""


class MarkStore(Protocol):
    """The newest market mark of every instrument."""

    async def record(self, marks: Mapping[InstrumentId, Mark]) -> frozenset[InstrumentId]:
        """Make marks durable; gives the instruments whose mark was newer than the one known."""

    async def since(self, moment: datetime) -> Sequence[RecordedMark]:
        """Marks recorded at `moment` or later, oldest first."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the mirror holds of one portfolio: the same JSON as REST answers, with its place in time."""

    portfolio_id: PortfolioId
    version: int
    revaluation: int
    state: bytes
    positions: bytes
    weights: bytes


@dataclass(frozen=True, slots=True)
class Fence:
    """Whose events these are: of two owners of a shard, the mirror listens to that of the later epoch."""

    shard_id: ShardId
    epoch: int


class Mirror(Protocol):
    """The copy for readers that need no guarantees, and the stream of events."""

    async def server_run(self) -> str:
        """A name of the server's present run: another one means that what it held may be gone.

        Raises MirrorUnavailable.
        """

    async def show(self, pictures: Sequence[Picture]) -> None:
        """Replace what is older than each picture. Raises MirrorUnavailable."""

    async def announce(self, events: Sequence[bytes], fence: Fence) -> None:
        """Append events to the stream, in order. Raises MirrorUnavailable, also if a later epoch has announced."""


class MirrorUnavailable(PortfolioError):
    """Redis did not answer; nothing waits for it, and what was to be shown is tried again."""

    code = "mirror-unavailable"
