"""The parts of `verify` that need no database: which rows may stand where, what differs, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from actors.rendering import encode
from cluster.verifying.command_order import CommandOrder
from cluster.verifying.comparing import book_differences, json_differences
from cluster.verifying.findings import DIFFERENCES_MAX, Findings, Kind, difference
from cluster.verifying.life import Lives
from cluster.verifying.lineage import Lineage
from cluster.verifying.mirror import Verdict, document_differences, judged
from cluster.verifying.report import Report, as_json, show
from cluster.verifying.walk import Recomputed, ShardWalk
from persistence.audit_values import ShardRecord
from persistence.mirror_reader import Shown
from persistence.row_codec import decode
from portfolio.entries import Booked, Opened
from portfolio.ids import IdempotencyKey, PortfolioId, ShardId
from portfolio.ports import Head, PendingRow, StoredRow
from portfolio.sharding import shard_of
from tests.oracles.builders import X, book_of, buy, sell
from tests.oracles.rows import Scribe, encoded, opened, portfolio, updated

START = Head(0, b"")


def record(shard_id: int, modulus: int, **more: Any) -> ShardRecord:
    """A shard that has nothing yet, unless said otherwise."""
    empty: dict[str, Any] = {"epoch": 1, "head": START, "checkpoint_seq": 0, "parent": None, "branch": START}
    return ShardRecord(shard_id=ShardId(shard_id), modulus=modulus, **empty | more)


def branched() -> Lineage:
    """Shard 0 of two has split into 0 and 2 of four at row 10, and 2 into 2 and 6 of eight at row 30."""
    return Lineage(
        [
            record(6, 8, parent=ShardId(2), branch=Head(30, b"b")),
            record(2, 8, parent=ShardId(0), branch=Head(10, b"a")),
            record(1, 2),
            record(0, 4),
        ]
    )


@given(st.text("ABCabc0123456789-", min_size=1, max_size=12).map(PortfolioId))
def test_a_portfolio_belongs_to_the_shard_that_its_modulus_names(portfolio_id: PortfolioId) -> None:
    expected = {0: 0, 4: 0, 2: 2, 6: 6}.get(shard_of(portfolio_id, 8), 1)
    assert branched().owner_of(portfolio_id) == expected


def test_rows_of_a_descendant_may_stand_before_the_branch_and_nowhere_else() -> None:
    lineage = branched()
    assert [shard.shard_id for shard in lineage.in_order()] == [0, 1, 2, 6]
    before_branch = {key: seq for key, seq in lineage.last_rows(ShardId(0)).items() if key != 0}
    assert before_branch == {2: 10, 6: 10}
    assert {key: seq for key, seq in lineage.last_rows(ShardId(2)).items() if key != 2} == {6: 30}
    assert set(lineage.last_rows(ShardId(6))) == {6}


def columns(rows: Sequence[PendingRow], head: Head = START) -> list[tuple[Any, ...]]:
    """Rows as the database gives them."""
    found: list[tuple[Any, ...]] = []
    for row in rows:
        head = encoded([row], head).head
        found.append(_columns(row, head))
    return found


def _columns(row: PendingRow, head: Head) -> tuple[Any, ...]:
    entry = row.entry
    middle: tuple[Any, ...] = (None, False, None, None, None, None, None, None)
    detail: dict[str, Any] | None = None
    kind = "OPENED"
    if isinstance(entry, Booked):
        kind = "BOOKED"
        middle = (entry.transaction_id, entry.transaction_id_given, entry.transaction_type.value, entry.instrument_id)
        middle += (entry.quantity, entry.price, entry.value, entry.fee)
    else:
        assert isinstance(entry, Opened)
        detail = {
            "portfolio_name": entry.portfolio_name,
            "base_currency": entry.base_currency,
            "allow_short": entry.allow_short,
            "min_cash": None,
        }
    last = (detail, row.idempotency_key, row.request_hash, entry.effective_at, entry.recorded_at, head.row_hash)
    return (head.seq, 1, 1, entry.portfolio_id, entry.version, kind, *middle, *last)


def walked(
    rows: Iterable[tuple[Any, ...]], shard: ShardRecord, lineage: Lineage | None = None, *, deep: bool = False
) -> tuple[Recomputed, Findings]:
    """What a walk of one shard makes of its rows."""
    findings = Findings()
    known = lineage or Lineage([shard])
    walk = ShardWalk(shard, known, Lives(known), findings, deep=deep)
    walk.take(rows)
    return walk.finish(), findings


def test_the_book_as_of_the_checkpoint_is_kept_where_later_rows_change_it() -> None:
    scribe = Scribe()
    rows = scribe.rows(opened(1, cash="100")) + scribe.rows(updated(1, buy("3", "7"))) + scribe.rows(opened(2))
    before = scribe.books[portfolio(1)]
    rows += scribe.rows(updated(1, sell("1", "9"))) + scribe.rows(opened(3))
    stored = columns(rows)
    head = Head(len(rows), stored[-1][-1])
    recomputed, findings = walked(stored, record(0, 1, head=head, checkpoint_seq=4), deep=True)
    assert findings.count == 0
    assert recomputed.books == scribe.books
    assert recomputed.as_of_checkpoint == {
        portfolio(1): before,
        portfolio(2): scribe.books[portfolio(2)],
        portfolio(3): None,
    }


def test_rows_after_a_gap_are_checked_again_and_the_portfolio_concerned_is_left_out() -> None:
    scribe = Scribe()
    rows = scribe.rows(opened(1)) + scribe.rows(updated(1)) + scribe.rows(updated(1)) + scribe.rows(opened(2))
    stored = columns(rows)
    recomputed, findings = walked(stored[:1] + stored[2:], record(0, 1, head=Head(4, stored[-1][-1])))
    assert [found.kind for found in findings.kept] == [Kind.JOURNAL_GAP, Kind.JOURNAL_VERSION]
    assert (recomputed.unsound, set(recomputed.books)) == ({portfolio(1)}, {portfolio(2)})


NULLABLE = (6, 8, 9, 10, 11, 12, 13, 14, 15, 16)
NUMBERS = (10, 11, 12, 13)
DETAIL = 14
VALUES = st.one_of(
    st.tuples(st.sampled_from(NULLABLE), st.none()),
    st.tuples(st.sampled_from(NUMBERS), st.sampled_from(("NaN", "Infinity", "-1", "1e20")).map(Decimal)),
    st.tuples(st.just(DETAIL), st.sampled_from(("x", -1, [1], {"ratio": 1}, {"mark": "x"}, {"min_cash": None}))),
    st.tuples(st.sampled_from((2, 4)), st.sampled_from((-1, 0, 9))),
)


@given(st.integers(0, 3), VALUES)
def test_no_value_that_a_column_can_hold_stops_the_walk_or_goes_unnoticed(row: int, change: tuple[int, Any]) -> None:
    scribe = Scribe()
    rows = scribe.rows(opened(1, cash="9", key="k")) + scribe.rows(updated(1, buy("1", "2"))) + scribe.rows(opened(2))
    stored = columns(rows)
    column, value = change
    is_same = stored[row][column] == value
    stored[row] = (*stored[row][:column], value, *stored[row][column + 1 :])
    _, findings = walked(stored, record(0, 1, head=Head(4, stored[-1][-1])))
    assert is_same is not bool(findings.count)


def test_a_command_is_begun_once_and_its_rows_stand_together() -> None:
    scribe = Scribe()
    rows = scribe.rows(opened(1, key="k", cash="5")) + scribe.rows(updated(1, buy("1", "1"), buy("2", "1"), key="l"))
    stored = [decode(row) for row in columns(rows)]
    assert _problems(stored) == []
    assert _problems([stored[0], stored[2], stored[1], stored[3]]) == [3, 4]
    assert _problems([replace(stored[0], request_hash=None), *stored[1:]]) == [1]
    assert _problems([replace(stored[0], idempotency_key=None), *stored[1:]]) == [1, 2]
    stranger = replace(stored[1], idempotency_key=IdempotencyKey("other"))
    assert _problems([stored[0], stranger, *stored[2:]]) == [2]


def _problems(rows: Sequence[StoredRow]) -> list[int]:
    order = CommandOrder()
    return [place for place, row in enumerate(rows, 1) if order.problem(row) is not None]


def test_books_differ_field_by_field_and_numbers_count_by_value() -> None:
    book = book_of(buy("3", "7"), cash="100")
    same = replace(book, cash=Decimal("79.000"))
    assert list(book_differences(book, same)) == []
    held = replace(book.positions[X], quantity=Decimal(4), cost_basis=Decimal(28))
    other = replace(book, version=9, positions={X: held})
    assert list(book_differences(book, other)) == [
        ("version", 3, 9),
        ("positions[X].quantity", Decimal(3), Decimal(4)),
        ("positions[X].cost_basis", Decimal(21), Decimal(28)),
    ]
    assert list(book_differences(book, replace(book, positions={}))) == [
        ("positions[X]", "3.00000000 units", "nothing")
    ]


def test_documents_differ_by_path_and_to_the_last_digit() -> None:
    assert list(
        json_differences("d", b'{"a":[{"instrument_id":"X","n":1.10}]}', b'{"a":[{"instrument_id":"X","n":1.2}]}')
    ) == [("d.a.X.n", Decimal("1.10"), Decimal("1.2"))]
    far = b'{"n":123456789012.12345678}', b'{"n":123456789012.12345679}'
    assert [name for name, _, _ in json_differences("d", *far)] == ["d.n"]
    assert [name for name, _, _ in json_differences("d", b'{"a":1}', b'{"a": 1}')] == ["d in its bytes"]
    assert [name for name, _, _ in json_differences("d", b'{"a":1}', b'{"b":1}')] == ["d.a", "d.b"]
    assert [name for name, _, _ in json_differences("d", b'{"a":1}', b"\xff")] == ["d"]


def test_the_mirror_is_judged_by_version_first_and_revaluation_then() -> None:
    documents = replace(encode(book_of(cash="1"), {}), revaluation=5)
    whole = {"state": documents.state, "positions": documents.positions, "weights": documents.weights}
    places = {(2, 5): Verdict.SAME_PLACE, (2, 6): Verdict.AHEAD, (3, 0): Verdict.AHEAD, (1, 9): Verdict.BEHIND}
    for place, verdict in places.items():
        assert judged(Shown(place=place, **whole), documents) is verdict
    assert judged(Shown(place=None, **whole), documents) is Verdict.UNGUARDED
    assert judged(Shown((2, 5), None, None, None), documents) is Verdict.ABSENT
    assert document_differences(Shown(place=None, **whole), documents) == []


@pytest.mark.parametrize(
    ("portfolios", "differing", "elsewhere", "consistency"),
    [
        (0, 0, 0, "100.0000"),
        (3, 0, 0, "100.0000"),
        (3, 1, 0, "66.6666"),
        (3, 3, 0, "0.0000"),
        (1_000_000, 1, 0, "99.9999"),
        (100_000_000, 1, 0, "99.9999"),
        (7, 0, 1, "99.9999"),
    ],
)
def test_consistency_is_rounded_down_and_100_means_that_nothing_differs(
    portfolios: int, differing: int, elsewhere: int, consistency: str
) -> None:
    report = Report()
    report.counts.portfolios = portfolios
    for number in range(differing):
        report.findings.add(difference(Kind.MEMORY_DIFFERS, "cash", (1, 2), portfolio_id=portfolio(number)))
    for _ in range(elsewhere):
        report.findings.add(difference(Kind.JOURNAL_HEAD, "last row", (1, 2)))
    assert report.consistency == consistency
    assert report.exit_status == (1 if differing + elsewhere else 0)


def test_what_could_not_be_compared_is_neither_a_success_nor_a_difference() -> None:
    report = Report(failed={"mirror": "away"})
    assert report.exit_status == 2
    report.findings.add(difference(Kind.JOURNAL_HEAD, "last row", (1, 2)))
    assert report.exit_status == 1


def test_the_first_differences_are_shown_and_the_rest_counted() -> None:
    report = Report(left_out={"memory": "not compared: [bold]no service"})
    report.counts.portfolios = 1_000
    for number in range(DIFFERENCES_MAX + 20):
        report.findings.add(
            difference(
                Kind.MEMORY_DIFFERS,
                "[red]cash",
                ("x" * 500, number),
                shard_id=ShardId(1),
                seq=7,
                portfolio_id=portfolio(number),
            )
        )
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as shown:
        show(report, console)
    lines = shown.get().splitlines()
    assert lines[0].startswith("memory-differs: shard 1, row 7, P-0: [red]cash is 0, expected xxx")
    assert "(500 characters)" in lines[0]
    assert "and 20 more differences" in lines
    assert any("not compared: [bold]no service" in line for line in lines)
    content = json.loads(as_json(report))
    assert (content["difference_count"], len(content["differences"])) == (DIFFERENCES_MAX + 20, DIFFERENCES_MAX)
    assert content["differences_by_kind"] == {"memory-differs": DIFFERENCES_MAX + 20}
    assert (content["consistency_percent"], content["exit_status"]) == ("88.0000", 1)
