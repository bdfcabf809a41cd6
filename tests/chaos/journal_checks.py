"""Holds what clients asked for against the journal: nothing lost, doubled, torn or undue, and the journal whole in itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from persistence.row_codec import rehashed
from portfolio.entries import Booked
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Head, StoredRow
from portfolio.sharding import shard_of
from tests.chaos.breaches import Breach, Finding
from tests.chaos.history import Answer, Asked, Wanted


@dataclass(frozen=True, slots=True)
class ShardJournal:
    """All of one shard's rows as they were read, in the order of `seq`, and where the shard says that they end."""

    rows: Sequence[StoredRow]
    head: Head


def check_chain(shard_id: ShardId, journal: ShardJournal) -> Iterator[Finding]:
    """Rows without gaps, each hash from the one before, up to the head, and no epoch after a later one."""
    end, epoch = Head(0, b""), 0
    for row in journal.rows:
        if row.epoch < epoch:
            yield Finding(Breach.ZOMBIE, f"shard {shard_id}: row {row.seq} of epoch {row.epoch} follows one of {epoch}")
        epoch = max(epoch, row.epoch)
        if row.seq != end.seq + 1:
            yield Finding(Breach.GAP, f"shard {shard_id}: row {row.seq} follows row {end.seq}")
        if row.row_hash != rehashed(row, end.row_hash):
            yield Finding(Breach.CHAIN, f"shard {shard_id}: row {row.seq}")
        end = Head(row.seq, row.row_hash)
    if end != journal.head:
        yield Finding(Breach.HEAD, f"shard {shard_id}: it ends at row {end.seq}, and says {journal.head.seq}")


def check_places(shard_id: ShardId, journal: ShardJournal, shard_count: int) -> Iterator[Finding]:
    """Every row in the shard that its portfolio belongs to."""
    for row in journal.rows:
        if shard_of(row.entry.portfolio_id, shard_count) != shard_id:
            yield Finding(Breach.STRAY, f"shard {shard_id}: row {row.seq} of {row.entry.portfolio_id}")


def check_versions(rows: Iterable[StoredRow]) -> Iterator[Finding]:
    """Every portfolio's versions from 1, without gaps."""
    last: dict[PortfolioId, int] = defaultdict(int)
    for row in rows:
        portfolio_id, version = row.entry.portfolio_id, row.entry.version
        if version != last[portfolio_id] + 1:
            yield Finding(Breach.GAP, f"{portfolio_id}: version {version} follows version {last[portfolio_id]}")
        last[portfolio_id] = version


Bookings = Mapping[tuple[str, str], Sequence[StoredRow]]
"""Rows by portfolio and idempotency key, in the order of the journal."""


def bookings(rows: Iterable[StoredRow]) -> Bookings:
    """All rows that bear a key."""
    found: dict[tuple[str, str], list[StoredRow]] = defaultdict(list)
    for row in rows:
        if row.idempotency_key is not None:
            found[row.entry.portfolio_id, row.idempotency_key].append(row)
    return found


def check_updates(asked: Iterable[Asked], rows: Iterable[StoredRow], booked: Bookings) -> Iterator[Finding]:
    """Every update booked as its client was told. Keys are unique; what was booked beside openings was asked for there."""
    for row in rows:
        if row.idempotency_key is None and isinstance(row.entry, Booked):
            yield Finding(Breach.UNDUE, f"{row.entry.portfolio_id}: version {row.entry.version}, without a key")
    unasked = dict.fromkeys(booked)
    for one in asked:
        name = one.portfolio_id, one.key
        unasked.pop(name, None)
        if breach := _breach_of(one, booked.get(name, ())):
            yield Finding(breach, f"{one.portfolio_id}: {one.key}, {one.answer} with version {one.version}", (one,))
    for portfolio_id, key in unasked:
        yield Finding(Breach.UNDUE, f"{portfolio_id}: {key}, which nobody asked for")


def _breach_of(asked: Asked, rows: Sequence[StoredRow]) -> Breach | None:
    if not rows:
        return Breach.LOST if asked.answer is Answer.ACKNOWLEDGED else None
    if asked.answer is Answer.REFUSED:
        return Breach.UNDUE
    if sum(row.request_hash is not None for row in rows) > 1 or len(rows) > len(asked.transactions):
        return Breach.DOUBLED
    if not _is_whole(asked, rows):
        return Breach.TORN
    if asked.expected_version is not None and rows[0].entry.version != asked.expected_version + 1:
        return Breach.CONDITION
    return None if _is_told(asked, rows[-1].entry.version) else Breach.MISTOLD


def _is_whole(asked: Asked, rows: Sequence[StoredRow]) -> bool:
    is_together = all(after.seq == before.seq + 1 for before, after in pairwise(rows))
    return is_together and rows[0].request_hash is not None and tuple(map(_content, rows)) == asked.transactions


def _content(row: StoredRow) -> Wanted | None:
    entry = row.entry
    if not isinstance(entry, Booked):
        return None
    return Wanted(entry.transaction_type.value, entry.instrument_id, entry.quantity, entry.price)


def _is_told(asked: Asked, version: int) -> bool:
    if asked.answer is not Answer.ACKNOWLEDGED:
        return True
    if asked.version is None:
        return False
    return version <= asked.version if asked.replayed else version == asked.version
