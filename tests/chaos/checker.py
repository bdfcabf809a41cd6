"""Holds what clients were told against the journal: nothing lost, doubled, torn, invented or out of order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from persistence.row_codec import rehashed
from portfolio.entries import Booked
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Head, StoredRow
from portfolio.sharding import shard_of
from tests.chaos.history import Answer, Asked, Wanted


class Breach(StrEnum):
    """A promise that was not kept."""

    LOST = "lost"
    """An acknowledged update is not in the journal."""
    DOUBLED = "doubled"
    """An update is there more than once."""
    TORN = "torn"
    """An update is there in part, apart, or with other content than was asked for."""
    UNDUE = "undue"
    """An update that was refused is there, or one that nobody asked for."""
    MISTOLD = "mistold"
    """An update is there at another version than its client was told."""
    GAP = "gap"
    """A row's or a version's number is missing, repeated, or not in order."""
    CHAIN = "chain"
    """A row's hash does not follow from its content and the row before."""
    HEAD = "head"
    """The shard's record of where its journal ends differs from where it ends."""
    STRAY = "stray"
    """A row is in a shard that its portfolio does not belong to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise, and where."""

    breach: Breach
    where: str


@dataclass(frozen=True, slots=True)
class ShardJournal:
    """All of one shard's rows as they were read, in the order of `seq`, and where the shard says that they end."""

    rows: Sequence[StoredRow]
    head: Head


def check(asked: Iterable[Asked], journals: Mapping[ShardId, ShardJournal]) -> list[Finding]:
    """Every promise that is broken; none is the only good answer.

    Keys are unique among `asked`, and whatever was booked beside openings was asked for there.
    """
    findings: list[Finding] = []
    for shard_id, journal in journals.items():
        findings += _check_chain(shard_id, journal)
        findings += _check_places(shard_id, journal, len(journals))
    rows = [row for journal in journals.values() for row in journal.rows]
    findings += _check_versions(rows)
    findings += _check_updates(asked, rows)
    return findings


def _check_chain(shard_id: ShardId, journal: ShardJournal) -> Iterator[Finding]:
    end = Head(0, b"")
    for row in journal.rows:
        if row.seq != end.seq + 1:
            yield Finding(Breach.GAP, f"shard {shard_id}: row {row.seq} follows row {end.seq}")
        if row.row_hash != rehashed(row, end.row_hash):
            yield Finding(Breach.CHAIN, f"shard {shard_id}: row {row.seq}")
        end = Head(row.seq, row.row_hash)
    if end != journal.head:
        yield Finding(Breach.HEAD, f"shard {shard_id}: it ends at row {end.seq}, and says {journal.head.seq}")


def _check_places(shard_id: ShardId, journal: ShardJournal, shard_count: int) -> Iterator[Finding]:
    for row in journal.rows:
        if shard_of(row.entry.portfolio_id, shard_count) != shard_id:
            yield Finding(Breach.STRAY, f"shard {shard_id}: row {row.seq} of {row.entry.portfolio_id}")


def _check_versions(rows: Iterable[StoredRow]) -> Iterator[Finding]:
    last: dict[PortfolioId, int] = defaultdict(int)
    for row in rows:
        portfolio_id, version = row.entry.portfolio_id, row.entry.version
        if version != last[portfolio_id] + 1:
            yield Finding(Breach.GAP, f"{portfolio_id}: version {version} follows version {last[portfolio_id]}")
        last[portfolio_id] = version


def _check_updates(asked: Iterable[Asked], rows: Iterable[StoredRow]) -> Iterator[Finding]:
    booked: dict[tuple[str, str], list[StoredRow]] = defaultdict(list)
    for row in rows:
        if row.idempotency_key is not None:
            booked[row.entry.portfolio_id, row.idempotency_key].append(row)
        elif isinstance(row.entry, Booked):
            yield Finding(Breach.UNDUE, f"{row.entry.portfolio_id}: version {row.entry.version}, without a key")
    for one in asked:
        found = booked.pop((one.portfolio_id, one.key), [])
        if breach := _breach_of(one, found):
            yield Finding(breach, f"{one.portfolio_id}: {one.key}, {one.answer} with version {one.version}")
    for portfolio_id, key in booked:
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
