"""The parts of a shard that serves: books, writer, publisher and checkpointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from actors.books import Books
from actors.checkpointer import Checkpointer
from actors.lease import Lease
from actors.publisher import Publisher
from actors.rebuilding import Rebuilt
from actors.recent_keys import RecentKeys
from actors.recovery import Recovered
from actors.settings import Limits
from actors.writer import Writer
from portfolio.book import Book
from portfolio.ids import ShardId
from portfolio.ports import CheckpointStore, Claim, Fence, Journal, Mirror


@dataclass(frozen=True, slots=True)
class Serving:
    """The parts of a shard that has recovered."""

    books: Books
    writer: Writer
    publisher: Publisher
    checkpointer: Checkpointer
    keys: RecentKeys
    tail_rows: int
    marks_seen: datetime

    def lift(self, rebuilt: Rebuilt) -> None:
        """Serve a book that was in quarantine. It takes writes from now on, and is shown, announced and saved."""
        book = rebuilt.book
        self.keys.relearn(book.portfolio_id, rebuilt.hashes)
        self.books.restore(book)
        head_seq = self.checkpointer.head_seq
        self.publisher.committed([book], head_seq + 1, head_seq)
        self.checkpointer.rebuilt([book.portfolio_id])


def assembled(
    claim: Claim,
    recovered: Recovered,
    *,
    journal: Journal,
    checkpoints: CheckpointStore,
    mirror: Mirror,
    lease: Lease,
    limits: Limits,
    shard_id: ShardId,
    epoch: Callable[[], int],
) -> Serving:
    """The parts of a shard that has recovered, each told of what the others do. `epoch` is asked for when it is needed."""
    books = Books(recovered.books, recovered.marks, recovered.quarantined)
    publisher = Publisher(
        books=books,
        mirror=mirror,
        lease=lease,
        fence=lambda: Fence(shard_id, epoch()),
        limits=limits,
        announced_seq=claim.announced_seq,
        is_pressed=lambda: writer.is_pressed,
    )
    checkpointer = Checkpointer(
        books=books,
        store=checkpoints,
        limits=limits,
        checkpoint_seq=claim.checkpoint_seq,
        head_seq=claim.head.seq,
        epoch=epoch,
        announced_seq=lambda: publisher.announced_seq,
    )
    checkpointer.restored(recovered.saved, recovered.changed)
    checkpointer.rebuilt(recovered.rebuilt)

    def committed(changed: Sequence[Book], rows: int) -> None:
        head_seq = checkpointer.head_seq + rows
        publisher.committed(changed, checkpointer.head_seq + 1, head_seq)
        checkpointer.committed(changed, head_seq)

    writer = Writer(
        books=books,
        journal=journal,
        keys=recovered.keys,
        lease=lease,
        limits=limits,
        committed=committed,
    )
    return Serving(books, writer, publisher, checkpointer, recovered.keys, recovered.tail_rows, recovered.marks_seen)
