"""A shard's state from what is stored: the checkpoint, and on top of it the journal's tail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from actors.pacing import Pacer
from actors.rebuilding import rebuilt
from actors.recent_keys import RecentKeys
from actors.replaying import Replay
from actors.settings import Limits
from portfolio.book import Book, Mark
from portfolio.errors import PortfolioQuarantined
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.ports import CheckpointStore, Claim, Journal, MarkStore

_log = logging.getLogger(__name__)
_EVER = datetime.min.replace(tzinfo=UTC)


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


async def recover(
    claim: Claim, *, journal: Journal, checkpoints: CheckpointStore, marks: MarkStore, limits: Limits
) -> Recovered:
    """The books at the head of the claimed journal, every one checked; those that fail are in quarantine.

    Raises Corrupt, Deposed or ShardUnavailable.
    """
    saved = await checkpoints.load()
    replay = Replay(saved, await checkpoints.quarantined())
    pacer = Pacer(limits.loop_slice_ms)
    async for row in journal.tail(claim, claim.checkpoint_seq):
        replay.enter(row)
        if pacer.is_due():
            await pacer.rest()
    books = replay.books()
    if replay.suspects:
        # What looks broken may be the work of a newer owner, who has saved a checkpoint since the claim.
        await journal.check_ownership()
    mended, quarantined = await _examine(replay.suspects, journal, pacer)
    if quarantined:
        await checkpoints.set_apart(quarantined, claim.epoch)
    recorded = await marks.since(_EVER)
    return Recovered(
        saved=saved.positions,
        books=books | mended,
        changed=replay.changed,
        rebuilt=frozenset(mended),
        quarantined=quarantined,
        marks={found.instrument_id: found.mark for found in recorded},
        marks_seen=recorded[-1].recorded_at if recorded else _EVER,
        keys=await _keys(claim, journal, limits),
        tail_rows=replay.rows,
    )


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


async def _keys(claim: Claim, journal: Journal, limits: Limits) -> RecentKeys:
    after_seq = max(0, claim.head.seq - limits.recent_keys_max)
    keys = RecentKeys(limits.recent_keys_max)
    keys.learn(await journal.recent_keys(after_seq))
    # Keys of before the shard branched off are among another one's rows: the journal's index knows them.
    keys.is_complete = keys.is_complete and not after_seq and not claim.branch.seq
    return keys
