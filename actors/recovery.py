"""A shard's state from what is stored: the checkpoint, and on top of it the journal's tail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from actors.pacing import Pacer
from actors.recent_keys import RecentKeys
from actors.settings import Limits
from portfolio.book import Book, Mark
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.invariants import check_book
from portfolio.ledger import Ledger
from portfolio.ports import CheckpointStore, Claim, Journal, MarkStore, StoredRow

_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a shard begins with. `saved` are the checkpoint's books, `books` those at the journal's head."""

    saved: Mapping[PortfolioId, Book]
    books: Mapping[PortfolioId, Book]
    changed: frozenset[PortfolioId]
    marks: Mapping[InstrumentId, Mark]
    marks_seen: datetime
    keys: RecentKeys
    tail_rows: int


async def recover(
    claim: Claim, *, journal: Journal, checkpoints: CheckpointStore, marks: MarkStore, limits: Limits
) -> Recovered:
    """The books at the head of the claimed journal, every one checked. Raises Corrupt or ShardUnavailable."""
    saved = await checkpoints.load()
    ledgers: dict[PortfolioId, Ledger] = {}
    tail_rows = 0
    pacer = Pacer(limits.loop_slice_ms)
    async for row in journal.tail(claim, claim.checkpoint_seq):
        tail_rows += 1
        _enter(row, ledgers, saved)
        if pacer.is_due():
            await pacer.rest()
    books = {**saved, **{portfolio_id: ledger.book() for portfolio_id, ledger in ledgers.items()}}
    for book in books.values():
        check_book(book)
    recorded = await marks.since(_EVER)
    return Recovered(
        saved=saved,
        books=books,
        changed=frozenset(ledgers),
        marks={found.instrument_id: found.mark for found in recorded},
        marks_seen=recorded[-1].recorded_at if recorded else _EVER,
        keys=await _keys(claim, journal, limits),
        tail_rows=tail_rows,
    )


def _enter(row: StoredRow, ledgers: dict[PortfolioId, Ledger], saved: Mapping[PortfolioId, Book]) -> None:
    portfolio_id = row.entry.portfolio_id
    ledger = ledgers.get(portfolio_id)
    if ledger is None:
        ledger = ledgers[portfolio_id] = Ledger(saved.get(portfolio_id))
    if row.entry.version != ledger.version + 1:
        raise Corrupt(
            f"journal row {row.seq} has version {row.entry.version} of {portfolio_id}, expected {ledger.version + 1}",
            portfolio_id=portfolio_id,
        )
    ledger.enter(row.entry)


async def _keys(claim: Claim, journal: Journal, limits: Limits) -> RecentKeys:
    after_seq = max(0, claim.head.seq - limits.recent_keys_max)
    keys = RecentKeys(limits.recent_keys_max)
    keys.learn(await journal.recent_keys(after_seq))
    # Keys of before the shard branched off are among another one's rows: the journal's index knows them.
    keys.is_complete = keys.is_complete and not after_seq and not claim.branch.seq
    return keys
