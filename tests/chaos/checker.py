"""Judges a history: everything that clients were told, against the journal and against real time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from portfolio.ids import ShardId
from tests.chaos.breaches import Finding
from tests.chaos.contents import check_contents
from tests.chaos.history import Asked, Read
from tests.chaos.journal_checks import ShardJournal, bookings, check_chain, check_places, check_updates, check_versions
from tests.chaos.real_time import check_real_time


def check(
    asked: Iterable[Asked], journals: Mapping[ShardId, ShardJournal], reads: Iterable[Read] = ()
) -> list[Finding]:
    """Every promise that is broken; none is the only good answer.

    Keys are unique among `asked`, and whatever was booked beside openings was asked for there.
    """
    asked, reads = list(asked), list(reads)
    rows = [row for journal in journals.values() for row in journal.rows]
    booked = bookings(rows)
    findings: list[Finding] = []
    for shard_id, journal in journals.items():
        findings += check_chain(shard_id, journal)
        findings += check_places(shard_id, journal, len(journals))
    findings += check_versions(rows)
    findings += check_updates(asked, rows, booked)
    findings += check_real_time(asked, reads, booked)
    findings += check_contents(asked, reads, rows)
    return findings
