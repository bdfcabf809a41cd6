"""A shard's state from what is stored: the checkpoint, and on top of it the journal's tail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from actors import ground
from actors.ground import Ground
from actors.pacing import Pacer
from actors.rebuilding import rebuilt
from actors.recent_keys import RecentKeys
from actors.replaying import Replay
from actors.settings import Limits
from portfolio.book import Book, Mark
from portfolio.errors import PortfolioQuarantined
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import CheckpointStore, Claim, Journal, MarkStore, StoredRow
from portfolio.sharding import shard_of

_log = logging.getLogger(__name__)


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

    An owner takes it in one go. While another one owns the shard, a successor reads ahead row by row, and a standby
    follows the checkpoints; once it has claimed the shard, only the last rows are left to read.
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
        self._is_following = False
        self._seq = 0

    async def read_ahead(self) -> None:
        """Come up to where the present owner is. Raises Corrupt or ShardUnavailable."""
        if self._begun is None:
            await self._begin(await self._journal.look())
        await self._advance(await self._journal.look())

    async def follow(self) -> None:
        """Come up to the present owner's checkpoint; the rows after it are left to `complete`.

        A book with a thousand rows between two checkpoints is read once. Raises Corrupt or ShardUnavailable.
        """
        self._is_following = True
        claim = await self._journal.look()
        if await self._brought_up(claim) is None:
            begun = await self._begin(claim)
            self._build_on(await ground.examined(begun.ground, self._pacer))

    def leads_to(self, claim: Claim) -> bool:
        """Whether what was read ahead is a ground for `claim`: if the checkpoint has moved on, it must be known what it holds.

        After a split it is not: half of the books have gone.
        """
        begun = self._begun
        if begun is None:
            return True
        if begun.ground.modulus != claim.modulus:
            return False
        if begun.ground.saved.seq == claim.checkpoint_seq or self._is_following:
            return begun.ground.saved.seq <= claim.checkpoint_seq
        return claim.checkpoint_seq == claim.head.seq and not begun.replay.suspects

    async def complete(self, claim: Claim) -> Recovered:
        """The books at the head of the claimed journal, every one checked; those that fail are in quarantine.

        Raises Corrupt, Deposed or ShardUnavailable.
        """
        begun = await self._brought_up(claim) or await self._begin(claim)
        await self._advance(claim)
        base, replay = begun.ground, begun.replay
        books = replay.books()
        if replay.suspects:
            # What looks broken may be the work of a newer owner, who has saved a checkpoint since the claim.
            await self._journal.check_ownership()
        mended, quarantined = await _examine(replay.suspects, self._journal, self._pacer)
        if quarantined:
            await self._checkpoints.set_apart(quarantined, claim.epoch)
        recorded = await self._marks.since(base.marks_seen)
        is_saved = claim.checkpoint_seq > base.saved.seq
        books |= mended
        return Recovered(
            saved=_with_held(base.saved.positions, books) if is_saved else base.saved.positions,
            books=books,
            changed=frozenset() if is_saved else replay.changed,
            rebuilt=frozenset(mended),
            quarantined=quarantined,
            marks={**base.marks, **{found.instrument_id: found.mark for found in recorded}},
            marks_seen=recorded[-1].recorded_at if recorded else base.marks_seen,
            keys=self._keys,
            tail_rows=replay.rows,
        )

    async def _begin(self, claim: Claim) -> _Begun:
        loaded = await ground.load(claim.modulus, self._checkpoints, self._marks)
        after_seq = max(0, claim.head.seq - self._keys_max)
        self._keys.learn(await self._journal.recent_keys(after_seq))
        # Keys of before the shard branched off are among another one's rows: the journal's index knows them.
        self._keys.is_complete = self._keys.is_complete and not after_seq and not claim.branch.seq
        return self._build_on(loaded)

    async def _brought_up(self, claim: Claim) -> _Begun | None:
        """What was read before, led up to the claim's checkpoint; None if there is nothing that leads there.

        It knows nothing of books that were set apart, or put back, since: those were saved, or passed by, without new rows.
        """
        begun = self._begun
        if begun is None or begun.ground.modulus != claim.modulus or begun.ground.saved.seq > claim.checkpoint_seq:
            return None
        if self._is_following and begun.ground.saved.seq < claim.checkpoint_seq:
            return await self._renewed(begun.ground)
        return begun if await self._checkpoints.quarantined() == begun.ground.saved.quarantined else None

    async def _renewed(self, base: Ground) -> _Begun | None:
        # Once some have been left out, the journal's index is asked for whatever is not known here.
        if self._keys.is_complete:
            self._keys.learn(await self._journal.recent_keys(base.saved.seq))
        renewed = await ground.renew(base, self._checkpoints, self._marks, self._pacer)
        return None if renewed is None else self._build_on(renewed)

    def _build_on(self, base: Ground) -> _Begun:
        replay = Replay(
            base.saved,
            base.saved.quarantined,
            lambda found: shard_of(found, base.modulus) == self._shard_id,
            base.sound,
        )
        self._begun = _Begun(base, replay)
        self._seq = base.saved.seq
        return self._begun

    async def _advance(self, claim: Claim) -> None:
        if self._begun is None:
            return
        async with aclosing(self._journal.tail(claim, self._seq)) as rows:
            async for row in rows:
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

    ground: Ground
    replay: Replay


async def _examine(
    suspects: Mapping[PortfolioId, str], journal: Journal, pacer: Pacer
) -> tuple[dict[PortfolioId, Book], dict[PortfolioId, str]]:
    """The suspects that their rows make whole, and the others with what is wrong with their rows."""
    mended: dict[PortfolioId, Book] = {}
    quarantined: dict[PortfolioId, str] = {}
    for portfolio_id, suspicion in suspects.items():
        try:
            mended[portfolio_id] = (await rebuilt(portfolio_id, journal, pacer)).book
            _log.warning("portfolio %s was made anew from all of its rows, because: %s", portfolio_id, suspicion)
        except PortfolioQuarantined as error:
            quarantined[portfolio_id] = error.detail
            _log.error("portfolio %s is in quarantine: %s", portfolio_id, error.detail)
    return mended, quarantined
