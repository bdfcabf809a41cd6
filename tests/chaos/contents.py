"""Holds the states that answers showed against the journal, added up here and not by the service's own code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from portfolio.entries import Booked, Entry
from portfolio.ports import StoredRow
from tests.chaos.breaches import Breach, Finding
from tests.chaos.history import Answer, Asked, Content, Read, content_of

Record = Asked | Read


def check_contents(asked: Sequence[Asked], reads: Sequence[Read], rows: Iterable[StoredRow]) -> Iterator[Finding]:
    """No answer shows a version that was never booked, nor anything but what the journal comes to at that version."""
    shown: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    records: list[Record] = [*asked, *reads]
    for record in records:
        is_state = isinstance(record, Read) or record.answer is Answer.ACKNOWLEDGED
        if is_state and record.version is not None:
            shown[record.portfolio_id][record.version].append(record)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for row in rows:
        entries[row.entry.portfolio_id].append(row.entry)
    for portfolio_id, by_version in shown.items():
        yield from _check_portfolio(by_version, entries[portfolio_id])


def _check_portfolio(shown: dict[int, list[Record]], entries: Sequence[Entry]) -> Iterator[Finding]:
    expected = _contents(entries, shown.keys())
    for version, records in shown.items():
        for record in records:
            where = f"{record.portfolio_id} at version {version}"
            if version not in expected:
                # An update told at a wrong version is found as such, with the journal's own.
                if isinstance(record, Read) or record.replayed:
                    yield Finding(Breach.INVENTED, f"{where}, which the journal does not have", (record,))
            elif record.content is not None and record.content != expected[version]:
                yield Finding(Breach.CONTENT, f"{where}: {record.content}, expected {expected[version]}", (record,))


def _contents(entries: Iterable[Entry], versions: Iterable[int]) -> dict[int, Content]:
    """The content at each of `versions` that there is. Trades alone are known here: clients ask for nothing else."""
    wanted = frozenset(versions)
    cash = Decimal(0)
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    found: dict[int, Content] = {}
    for entry in entries:
        if isinstance(entry, Booked):
            cash -= entry.value + entry.fee
            quantities[entry.instrument_id] += entry.quantity
        if entry.version in wanted:
            found[entry.version] = content_of(cash, quantities.items())
    return found
