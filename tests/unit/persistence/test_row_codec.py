"""Rows as text: arrays that Postgres reads, hashes that chain."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence import row_codec
from persistence.array_literal import plain_array, text_array
from portfolio.entries import Booked
from portfolio.errors import Corrupt
from portfolio.ports import Head
from tests.oracles.builders import NOW, buy, deposit, split
from tests.oracles.rows import Scribe, encoded, opened, updated

START = Head(0, b"")


def test_arrays_are_written_as_postgres_reads_them() -> None:
    assert plain_array([1, None, Decimal("2.50"), "t"]) == "{1,NULL,2.50,t}"
    assert text_array(["a", None, "NULL", "", 'q"', "b\\", "{,}"]) == '{"a",NULL,"NULL","","q\\"","b\\\\","{,}"}'
    assert text_array([]) == plain_array([]) == "{}"


@given(st.lists(st.none() | st.text(), max_size=6))
def test_a_text_array_can_be_read_back(values: list[str | None]) -> None:
    assert _read_array(text_array(values)) == values


def _read_array(literal: str) -> list[str | None]:
    """An array literal, read as Postgres documents it."""
    values: list[str | None] = []
    position = 1
    while literal[position] != "}":
        if literal[position] == ",":
            position += 1
        elif literal[position] == '"':
            position, text = position + 1, ""
            while literal[position] != '"':
                position += literal[position] == "\\"
                text, position = text + literal[position], position + 1
            values.append(text)
            position += 1
        else:
            assert literal[position : position + 4] == "NULL"
            values.append(None)
            position += 4
    return values


def test_each_row_is_chained_to_the_one_before_it() -> None:
    scribe = Scribe()
    rows = scribe.rows(opened(1, cash="5", key="k")) + scribe.rows(updated(1, buy("3", "2"), split("2:1")))
    whole = encoded(rows, START)
    head = START
    for row in rows:
        head = encoded([row], head).head
    assert head == whole.head
    assert whole.count == whole.head.seq == 4
    assert encoded(rows[1:], START).head.row_hash != whole.head.row_hash


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": Decimal("3.00000001")},
        {"price": Decimal("2.00000001")},
        {"value": Decimal("6.01")},
        {"fee": Decimal("0.01")},
        {"version": 9},
        {"effective_at": NOW.replace(microsecond=1)},
        {"recorded_at": NOW.replace(microsecond=1)},
        {"transaction_id_given": True},
        {"instrument_id": "Y"},
        {"mark": Decimal(1)},
    ],
)
def test_every_field_of_a_transaction_is_in_the_hash(change: dict[str, object]) -> None:
    scribe = Scribe()
    scribe.rows(opened(1))
    (row,) = scribe.rows(updated(1, buy("3", "2")))
    assert isinstance(row.entry, Booked)
    changed = replace(row, entry=replace(row.entry, **change))  # type: ignore[arg-type]
    assert encoded([row], START).head != encoded([changed], START).head


def test_key_and_request_hash_are_in_the_hash() -> None:
    scribe = Scribe()
    scribe.rows(opened(1))
    (row,) = scribe.rows(updated(1, deposit("1"), key="k"))
    heads = {
        encoded([changed], START).head
        for changed in (row, replace(row, idempotency_key=None), replace(row, request_hash=None))
    }
    assert len(heads) == 3


@pytest.mark.parametrize("row_format", [0, 2, None])
def test_a_format_that_is_not_known_is_corrupt(row_format: int | None) -> None:
    with pytest.raises(Corrupt, match="format"):
        row_codec.decode([1, 1, row_format, *[None] * 17, b""])


def test_a_row_that_makes_no_sense_is_corrupt() -> None:
    for kind in ("BOOKED", "OPENED", "STATUS", "ELSE"):
        with pytest.raises(Corrupt, match="row 1 "):
            row_codec.decode([1, 1, 1, "P", 1, kind, *[None] * 13, b""])
