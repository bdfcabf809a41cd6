"""Holds answers against real time: what one client was told, no later request may be told less than."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.breaches import Breach, Finding
from tests.chaos.history import Answer, Asked, Read
from tests.chaos.journal_checks import Bookings
from tests.chaos.sweep import Known, Told, told_less

Record = Asked | Read


@dataclass(slots=True)
class _Life:
    """What is known of one portfolio: its reads, and every update that the journal has or that was acknowledged."""

    reads: list[Read] = field(default_factory=list)
    acknowledged: list[Asked] = field(default_factory=list)
    booked: list[tuple[Asked, int]] = field(default_factory=list)
    """With the version before the update."""


def check_real_time(asked: Sequence[Asked], reads: Sequence[Read], booked: Bookings) -> Iterator[Finding]:
    """Updates in the order in which clients knew of them, reads never older than what was known, owners in order."""
    for life in _lives(asked, reads, booked).values():
        yield from _check_order(life)
        yield from _check_staleness(life)
    yield from _check_owners([*asked, *reads])


def _lives(asked: Iterable[Asked], reads: Iterable[Read], booked: Bookings) -> dict[str, _Life]:
    lives: dict[str, _Life] = defaultdict(_Life)
    for read in reads:
        lives[read.portfolio_id].reads.append(read)
    for one in asked:
        life = lives[one.portfolio_id]
        if one.answer is Answer.ACKNOWLEDGED:
            life.acknowledged.append(one)
        if rows := booked.get((one.portfolio_id, one.key)):
            life.booked.append((one, rows[0].entry.version - 1))
    return lives


def _check_order(life: _Life) -> Iterator[Finding]:
    """An update is booked on top of all that its client could know of when it first sent it."""
    known = [*_acknowledged(life), *_read(life)]
    told: list[Told[Record]] = [Told(one.sent, before, one) for one, before in life.booked]
    yield from _found(Breach.REORDERED, known, told, "was booked before")


def _check_staleness(life: _Life) -> Iterator[Finding]:
    told: list[Told[Record]] = [Told(read.sent, read.version, read) for read in life.reads]
    # A repeat is answered with the present state, and so is a read as well.
    told += [
        Told(one.last_sent, one.version, one) for one in life.acknowledged if one.replayed and one.version is not None
    ]
    yield from _found(Breach.STALE, _acknowledged(life), told, "is older than")
    yield from _found(Breach.REVERTED, _read(life), told, "is older than")


def _acknowledged(life: _Life) -> list[Known[Record]]:
    return [Known(one.answered, one.version, one) for one in life.acknowledged if one.version is not None]


def _read(life: _Life) -> list[Known[Record]]:
    return [Known(read.answered, read.version, read) for read in life.reads]


def _check_owners(records: Iterable[Record]) -> Iterator[Finding]:
    """Within a shard, answers' epochs never go back; answers that do not name an owner tell nothing."""
    known: dict[int, list[Known[Record]]] = defaultdict(list)
    told: dict[int, list[Told[Record]]] = defaultdict(list)
    for record in records:
        for owner in record.owners:
            known[owner.shard_id].append(Known(record.answered, owner.epoch, record))
            sent = record.last_sent if isinstance(record, Asked) else record.sent
            told[owner.shard_id].append(Told(sent, owner.epoch, record))
    for shard_id, answers in told.items():
        yield from _found(Breach.ZOMBIE, known[shard_id], answers, "was answered by an owner deposed before")


def _found(breach: Breach, known: Iterable[Known[Record]], told: Iterable[Told[Record]], how: str) -> Iterator[Finding]:
    for record, earlier in told_less(known, told):
        yield Finding(breach, f"{_name(record)} {how} {_name(earlier)}", (record, earlier))


def _name(record: Record) -> str:
    what = "a read" if isinstance(record, Read) else record.key
    return f"{record.portfolio_id}: {what} at version {record.version}"
