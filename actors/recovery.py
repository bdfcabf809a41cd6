"""A shard's state from what is stored: the checkpoint, and on top of it the journal's tail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from actors.pacing import Pacer
from actors.rebuilding import rebuilt
from actors.recent_keys import RecentKeys
from actors.replaying import Replay
from actors.settings import Limits
from portfolio.book import Book, Mark
from portfolio.errors import PortfolioQuarantined
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import CheckpointStore, Claim, Journal, MarkStore, SavedBooks, StoredRow
from portfolio.sharding import shard_of

_log = logging.getLogger(__name__)
_EVER = datetime.min.replace(tzinfo=UTC)
SLOW_COMMIT: Final = timedelta(seconds=30)
"""A mark is seen some time after the moment it bears as recorded; looking this far back finds those that came late."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a shard begins with: the books at the journal's head, and where the checkpoint differs from them.

    `saved` are the positions that the checkpoint holds. `changed` are books with newer rows, `rebuilt` those that were
    made from all of their rows, `quarantined` those that could not be made at all.
    """

    saved: Mapping[PortfolioId, frozenset[InstrumentId]]
    books: Mapping[PortfolioId, Book]
    changed: frozenset[PortfolioId]
    rebuilt: frozenset[PortfolioId]
    quarantined: Mapping[PortfolioId, str]
    marks: Mapping[InstrumentId, Mark]
    marks_seen: datetime
    keys: RecentKeys
    tail_rows: int


class Recovery:
    """The way from what is stored to the books at the journal's head.

    An owner takes it in one go. A successor reads ahead, again and again, while another one owns the shard; once it has
    claimed the shard, only the last rows are left to read.
    """

    def __init__(
        self,
        *,
        shard_id: ShardId,
        journal: Journal,
        checkpoints: CheckpointStore,
        marks: MarkStore,
        limits: Limits,
    ) -> None:
        self._shard_id = shard_id
        self._journal = journal
        self._checkpoints = checkpoints
        self._marks = marks
        self._pacer = Pacer(limits.loop_slice_ms)
        self._keys = RecentKeys(limits.recent_keys_max)
        self._keys_max = limits.recent_keys_max
        self._begun: _Begun | None = None
        self._seq = 0

    async def read_ahead(self) -> None:
        """Come up to where the present owner is. Raises Corrupt or ShardUnavailable."""
        if self._begun is None:
            await self._begin(await self._journal.look())
        await self._advance(await self._journal.look())

    def leads_to(self, claim: Claim) -> bool:
        """Whether what was read ahead is a ground for `claim`: if the checkpoint has moved on, it must be known what it holds.

        After a split it is not: half of the books have gone.
        """
        begun = self._begun
        if begun is None:
            return True
        if begun.modulus != claim.modulus:
            return False
        if begun.saved.seq == claim.checkpoint_seq:
            return True
        return claim.checkpoint_seq == claim.head.seq and not begun.replay.suspects

    async def complete(self, claim: Claim) -> Recovered:
        """The books at the head of the claimed journal, every one checked; those that fail are in quarantine.

        Raises Corrupt, Deposed or ShardUnavailable.
        """
        begun = self._begun
        # What was read ahead knows nothing of books that were set apart, or put back, since.
        if begun is None or await self._checkpoints.quarantined() != begun.quarantined:
            begun = await self._begin(claim)
        await self._advance(claim)
        replay = begun.replay
        books = replay.books()
        if replay.suspects:
            # What looks broken may be the work of a newer owner, who has saved a checkpoint since the claim.
            await self._journal.check_ownership()
        mended, quarantined = await _examine(replay.suspects, self._journal, self._pacer)
        if quarantined:
            await self._checkpoints.set_apart(quarantined, claim.epoch)
        recorded = await self._marks.since(begun.marks_seen)
        is_saved = claim.checkpoint_seq > begun.saved.seq
        books |= mended
        return Recovered(
            saved=_with_held(begun.saved.positions, books) if is_saved else begun.saved.positions,
            books=books,
            changed=frozenset() if is_saved else replay.changed,
            rebuilt=frozenset(mended),
            quarantined=quarantined,
            marks={**begun.marks, **{found.instrument_id: found.mark for found in recorded}},
            marks_seen=recorded[-1].recorded_at if recorded else begun.marks_seen,
            keys=self._keys,
            tail_rows=replay.rows,
        )

    async def _begin(self, claim: Claim) -> _Begun:
        saved = await self._checkpoints.load()
        after_seq = max(0, claim.head.seq - self._keys_max)
        self._keys.learn(await self._journal.recent_keys(after_seq))
        # Keys of before the shard branched off are among another one's rows: the journal's index knows them.
        self._keys.is_complete = self._keys.is_complete and not after_seq and not claim.branch.seq
        recorded = await self._marks.since(_EVER)
        self._seq = saved.seq
        quarantined = await self._checkpoints.quarantined()
        self._begun = _Begun(
            saved=saved,
            quarantined=quarantined,
            modulus=claim.modulus,
            replay=Replay(saved, quarantined, lambda found: shard_of(found, claim.modulus) == self._shard_id),
            marks={found.instrument_id: found.mark for found in recorded},
            marks_seen=earlier(recorded[-1].recorded_at, SLOW_COMMIT) if recorded else _EVER,
        )
        return self._begun

    async def _advance(self, claim: Claim) -> None:
        if self._begun is None:
            return
        async for row in self._journal.tail(claim, self._seq):
            self._begun.replay.enter(row)
            self._seq = row.seq
            if isinstance(row, StoredRow) and row.idempotency_key is not None and row.request_hash is not None:
                self._keys.learn({(row.entry.portfolio_id, row.idempotency_key): row.request_hash})
            if self._pacer.is_due():
                await self._pacer.rest()


def _with_held(
    positions: Mapping[PortfolioId, frozenset[InstrumentId]], books: Mapping[PortfolioId, Book]
) -> Mapping[PortfolioId, frozenset[InstrumentId]]:
    """What a checkpoint that has moved on since may hold: closing a position that it does not hold does no harm."""
    nothing: frozenset[InstrumentId] = frozenset()
    return {name: positions.get(name, nothing) | book.positions.keys() for name, book in books.items()}


@dataclass(frozen=True, slots=True)
class _Begun:
    """What was loaded first, and what is replayed on top of it."""

    saved: SavedBooks
    quarantined: Mapping[PortfolioId, str]
    modulus: int
    replay: Replay
    marks: Mapping[InstrumentId, Mark]
    marks_seen: datetime


def earlier(moment: datetime, by: timedelta) -> datetime:
    """`moment` less `by`, or `moment` if there is no such time."""
    return moment - by if moment - datetime.min.replace(tzinfo=moment.tzinfo) > by else moment


async def _examine(
    suspects: Mapping[PortfolioId, str], journal: Journal, pacer: Pacer
) -> tuple[dict[PortfolioId, Book], dict[PortfolioId, str]]:
    """The suspects that their rows make whole, and the others with what is wrong with their rows."""
    mended: dict[PortfolioId, Book] = {}
    quarantined: dict[PortfolioId, str] = {}
    for portfolio_id, suspicion in suspects.items():
        try:
            mended[portfolio_id] = await rebuilt(portfolio_id, journal, pacer)
            _log.warning("portfolio %s was made anew from all of its rows, because: %s", portfolio_id, suspicion)
        except PortfolioQuarantined as error:
            quarantined[portfolio_id] = error.detail
            _log.error("portfolio %s is in quarantine: %s", portfolio_id, error.detail)
    return mended, quarantined
