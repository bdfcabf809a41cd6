"""The ground of a recovery: what is loaded at first, and kept up with the owner's checkpoints while a standby waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from actors.pacing import Pacer
from portfolio.book import Book, Mark
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.invariants import check_book
from portfolio.ports import CheckpointStore, MarkStore, SavedBooks

EVER: Final = datetime.min.replace(tzinfo=UTC)
SLOW_COMMIT: Final = timedelta(seconds=30)
"""A mark is seen some time after the moment it bears as recorded; looking this far back finds those that came late."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A checkpoint of a shard that has `modulus`, and the marks known then.

    `sound` are books that have been checked against the invariants already.
    """

    saved: SavedBooks
    modulus: int
    marks: Mapping[InstrumentId, Mark]
    marks_seen: datetime
    sound: frozenset[PortfolioId] = frozenset()


async def load(modulus: int, checkpoints: CheckpointStore, marks: MarkStore) -> Ground:
    """The newest checkpoint, whole. Raises ShardUnavailable."""
    saved = await checkpoints.load()
    recorded = await marks.since(EVER)
    return Ground(
        saved=saved,
        modulus=modulus,
        marks={found.instrument_id: found.mark for found in recorded},
        marks_seen=earlier(recorded[-1].recorded_at, SLOW_COMMIT) if recorded else EVER,
    )


async def renew(ground: Ground, checkpoints: CheckpointStore, marks: MarkStore, pacer: Pacer) -> Ground | None:
    """The newest checkpoint, of which only what has changed since `ground` is read. Raises ShardUnavailable.

    None if portfolios were set apart or put back since: of those, more than the rows in between has changed.
    """
    changed = await checkpoints.load_changed(ground.saved.seq)
    if changed.quarantined != ground.saved.quarantined:
        return None
    recorded = await marks.since(ground.marks_seen)
    sound = await _sound(changed.books.values(), pacer)
    return replace(
        ground,
        saved=_merged(ground.saved, changed),
        marks={**ground.marks, **{found.instrument_id: found.mark for found in recorded}},
        marks_seen=earlier(recorded[-1].recorded_at, SLOW_COMMIT) if recorded else ground.marks_seen,
        sound=(ground.sound - changed.positions.keys()) | sound,
    )


async def examined(ground: Ground, pacer: Pacer) -> Ground:
    """The same, every book checked, so that the recovery need not check again those that have not changed."""
    return replace(ground, sound=await _sound(ground.saved.books.values(), pacer))


def _merged(before: SavedBooks, changed: SavedBooks) -> SavedBooks:
    books = {**before.books, **changed.books}
    for portfolio_id in changed.unreadable:
        books.pop(portfolio_id, None)
    unreadable = {name: why for name, why in before.unreadable.items() if name not in changed.books}
    return SavedBooks(
        seq=changed.seq,
        books=books,
        unreadable={**unreadable, **changed.unreadable},
        positions={**before.positions, **changed.positions},
        quarantined=changed.quarantined,
    )


async def _sound(books: Iterable[Book], pacer: Pacer) -> frozenset[PortfolioId]:
    sound: set[PortfolioId] = set()
    for book in books:
        if _is_sound(book):
            sound.add(book.portfolio_id)
        if pacer.is_due():
            await pacer.rest()
    return frozenset(sound)


def _is_sound(book: Book) -> bool:
    try:
        check_book(book)
    except (Corrupt, ArithmeticError):
        return False
    return True


def earlier(moment: datetime, by: timedelta) -> datetime:
    """`moment` less `by`, or `moment` if there is no such time."""
    return moment - by if moment - datetime.min.replace(tzinfo=moment.tzinfo) > by else moment
