"""The checker finds every kind of violation that is planted in a good history, and nothing in a good one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from persistence.row_codec import rehashed
from portfolio.book import Book
from portfolio.commands import OpenPortfolio, UpdatePortfolio, request_hash
from portfolio.decide import decide
from portfolio.entries import Booked
from portfolio.ids import IdempotencyKey, InstrumentId, PortfolioId, ShardId
from portfolio.ports import Head, PendingRow, StoredRow
from portfolio.transactions import Transaction, TransactionType
from tests.chaos.breaches import Breach
from tests.chaos.checker import check
from tests.chaos.history import Answer, Asked, Wanted
from tests.chaos.journal_checks import ShardJournal
from tests.oracles.builders import NOW

pytestmark = pytest.mark.unit

SHARD = ShardId(0)
FIRST, SECOND = PortfolioId("PORTFOLIO-1"), PortfolioId("PORTFOLIO-2")


def one(quantity: int) -> Wanted:
    return Wanted("BUY", "X", Decimal(quantity), Decimal(10))


ASKED = (
    Asked(key="a", portfolio_id=FIRST, transactions=(one(1),), answer=Answer.ACKNOWLEDGED, version=2),
    Asked(key="b", portfolio_id=SECOND, transactions=(one(2), one(3)), answer=Answer.ACKNOWLEDGED, version=3),
    Asked(
        key="c", portfolio_id=FIRST, transactions=(one(4), one(5)), answer=Answer.ACKNOWLEDGED, version=4, replayed=True
    ),
    Asked(key="d", portfolio_id=FIRST, transactions=(one(6),), answer=Answer.UNKNOWN),
    Asked(key="e", portfolio_id=SECOND, transactions=(one(7),), answer=Answer.UNKNOWN),
    Asked(key="f", portfolio_id=SECOND, transactions=(one(8),), answer=Answer.REFUSED),
)
BOOKED = ("a", "b", "c", "d")
"""What came to be booked: every acknowledged update, and one of those whose client does not know."""


def pending(asked: Iterable[Asked]) -> list[PendingRow]:
    books: dict[PortfolioId, Book] = {}
    rows: list[PendingRow] = []
    for portfolio_id in (FIRST, SECOND):
        opening = OpenPortfolio(portfolio_id=portfolio_id, portfolio_name="Balanced")
        decision = decide(None, opening, now=NOW)
        books[portfolio_id] = decision.book
        rows += [PendingRow(entry) for entry in decision.entries]
    for update in asked:
        portfolio_id = PortfolioId(update.portfolio_id)
        command = UpdatePortfolio(
            portfolio_id=portfolio_id, transactions=tuple(_transaction(wanted) for wanted in update.transactions)
        )
        decision = decide(books[portfolio_id], command, now=NOW)
        books[portfolio_id] = decision.book
        key = IdempotencyKey(update.key)
        first, *rest = decision.entries
        rows += [PendingRow(first, key, request_hash(command)), *(PendingRow(entry, key) for entry in rest)]
    return rows


def _transaction(wanted: Wanted) -> Transaction:
    return Transaction(
        transaction_type=TransactionType(wanted.transaction_type),
        instrument_id=InstrumentId(wanted.instrument_id),
        quantity=wanted.quantity,
        price=wanted.price,
    )


def chained(rows: Iterable[StoredRow]) -> list[StoredRow]:
    """The rows with the hashes that follow from them as they are."""
    sealed: list[StoredRow] = []
    for row in rows:
        previous = sealed[-1].row_hash if sealed else b""
        sealed.append(replace(row, row_hash=rehashed(row, previous)))
    return sealed


def numbered(rows: Iterable[PendingRow]) -> list[StoredRow]:
    return chained(
        StoredRow(seq, 1, row.entry, row.idempotency_key, row.request_hash, b"")
        for seq, row in enumerate(rows, start=1)
    )


def journal(rows: Sequence[StoredRow]) -> ShardJournal:
    return ShardJournal(rows, Head(rows[-1].seq, rows[-1].row_hash))


def booked(keys: Iterable[str] = BOOKED) -> list[StoredRow]:
    """The journal in which the updates of these keys were booked, in this order."""
    by_key = {update.key: update for update in ASKED}
    return numbered(pending(by_key[key] for key in keys))


def breaches(rows: Sequence[StoredRow], asked: Iterable[Asked] = ASKED) -> set[Breach]:
    return {finding.breach for finding in check(asked, {SHARD: journal(rows)})}


def with_answer(key: str, **change: object) -> list[Asked]:
    return [replace(update, **change) if update.key == key else update for update in ASKED]  # type: ignore[arg-type]  # each test names fields of Asked


def test_a_good_history_has_no_findings() -> None:
    assert check(ASKED, {SHARD: journal(booked())}) == []


def test_nothing_asked_and_nothing_booked_is_good() -> None:
    assert check([], {SHARD: ShardJournal([], Head(0, b""))}) == []


def test_a_lost_update_is_found() -> None:
    # The journal is whole in itself: only the client's memory tells. What it was told later is then wrong as well.
    assert Breach.LOST in breaches(booked(("b", "c", "d")))


def test_a_lost_tail_is_found_although_the_rest_is_whole() -> None:
    # The repeat was answered with a version that went with the tail.
    assert breaches(booked()[:-3]) == {Breach.LOST, Breach.INVENTED}


def test_a_doubled_update_is_found() -> None:
    assert breaches(booked(("a", "b", "c", "d", "d"))) == {Breach.DOUBLED}


def test_an_update_doubled_long_after_is_found() -> None:
    assert Breach.DOUBLED in breaches(booked(("a", "b", "c", "a")))


def test_a_row_doubled_within_an_update_is_found() -> None:
    rows = pending(update for update in ASKED if update.key in BOOKED)
    position = next(i for i, row in enumerate(rows) if row.idempotency_key == "b") + 1
    repeated = [*rows[: position + 1], rows[position], *rows[position + 1 :]]
    assert Breach.DOUBLED in breaches(numbered(repeated))


def test_half_an_update_is_found() -> None:
    rows = booked()
    assert breaches(rows[:3] + chained_from(rows[3:4], rows[2])) >= {Breach.TORN}


def chained_from(rows: Sequence[StoredRow], before: StoredRow) -> list[StoredRow]:
    previous, sealed = before.row_hash, []
    for row in rows:
        sealed.append(replace(row, row_hash=rehashed(row, previous)))
        previous = sealed[-1].row_hash
    return sealed


def test_an_update_with_another_content_is_found() -> None:
    rows = booked()
    entry = rows[2].entry
    assert isinstance(entry, Booked)
    rows[2] = replace(rows[2], entry=replace(entry, quantity=Decimal(100)))
    assert breaches(chained(rows)) == {Breach.TORN}


def test_a_refused_update_that_was_booked_is_found() -> None:
    assert breaches(booked((*BOOKED, "f"))) == {Breach.UNDUE}


def test_an_update_that_nobody_asked_for_is_found() -> None:
    assert breaches(booked(), [update for update in ASKED if update.key != "d"]) == {Breach.UNDUE}


def test_a_transaction_without_a_key_is_found() -> None:
    rows = booked()
    rows[2] = replace(rows[2], idempotency_key=None, request_hash=None)
    assert Breach.UNDUE in breaches(chained(rows))


@pytest.mark.parametrize(
    ("key", "version", "replayed"), [("a", 3, False), ("a", None, False), ("c", 3, True), ("b", 2, False)]
)
def test_a_client_that_was_told_another_version_is_found(key: str, version: int | None, replayed: bool) -> None:
    assert breaches(booked(), with_answer(key, version=version, replayed=replayed)) == {Breach.MISTOLD}


def test_a_missing_row_is_found() -> None:
    rows = booked()
    assert breaches(rows[:2] + rows[3:]) >= {Breach.GAP, Breach.CHAIN, Breach.LOST}


def test_a_missing_version_is_found_although_rows_are_whole() -> None:
    rows = booked()
    entry = rows[-1].entry
    rows[-1] = replace(rows[-1], entry=replace(entry, version=entry.version + 1))
    assert breaches(chained(rows)) == {Breach.GAP}


def test_a_wrong_hash_is_found() -> None:
    rows = booked()
    rows[3] = replace(rows[3], row_hash=bytes(32))
    assert breaches(rows) == {Breach.CHAIN}


def test_a_changed_row_is_found_by_its_hash() -> None:
    rows = booked()
    entry = rows[-1].entry
    assert isinstance(entry, Booked)
    rows[-1] = replace(rows[-1], entry=replace(entry, fee=Decimal("0.01")))
    assert breaches(rows) == {Breach.CHAIN}


def test_reordered_rows_are_found_even_if_renumbered_and_sealed_anew() -> None:
    rows = booked()
    last, before = rows[-1], rows[-2]
    swapped = [*rows[:-2], replace(last, seq=before.seq), replace(before, seq=last.seq)]
    assert Breach.GAP in breaches(chained(swapped))


def test_reordered_updates_of_one_portfolio_are_found_by_what_clients_were_told() -> None:
    assert breaches(booked(("c", "b", "a", "d"))) == {Breach.MISTOLD}


def test_rows_read_out_of_order_are_found() -> None:
    rows = booked()
    assert Breach.GAP in breaches([*rows[:-2], rows[-1], rows[-2]])


@pytest.mark.parametrize("head", [Head(99, b""), Head(8, bytes(32))])
def test_a_head_that_is_not_the_last_row_is_found(head: Head) -> None:
    found = check(ASKED, {SHARD: ShardJournal(booked(), head)})
    assert {finding.breach for finding in found} == {Breach.HEAD}


def test_a_row_in_another_shard_is_found() -> None:
    found = check(ASKED, {SHARD: ShardJournal([], Head(0, b"")), ShardId(1): journal(booked())})
    assert {finding.breach for finding in found} == {Breach.STRAY}
