"""What an operator is shown of a portfolio's rows."""

from __future__ import annotations

import io
from typing import LiteralString

import pytest
from rich.console import Console

from cluster.repair import ROWS_AROUND, Examination, examine, show
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy, deposit
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import postgres_shard


@pytest.fixture
async def booked(database: str) -> str:
    """A database with a portfolio of 22 rows, of which the 11th to the 22nd are purchases."""
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, *[deposit("1")] * 9))
        await running.book(updated(1, *[buy("2", "3.5", fee="0.25")] * 12))
    return database


def _shown(found: Examination) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_a_sound_portfolio_is_said_to_be_sound(booked: str) -> None:
    found = await examine(booked, portfolio(1))
    assert (found.problem, found.version, found.rows_count, found.rows) == (None, 22, 22, ())
    assert "P-1: its 22 journal rows are sound, up to version 22" in _shown(found)


async def test_a_portfolio_without_rows_has_none(booked: str) -> None:
    found = await examine(booked, portfolio(2))
    assert (found.rows_count, found.problem, found.quarantined) == (0, None, None)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        ("update journal set value = 8 where seq = 11", "journal row 11 does not match its hash"),
        ("update journal set transaction_type = 'GIFT' where seq = 11", "journal row 11 cannot be read"),
        ("update journal set version = 99 where seq = 11", "version 12 of P-1, expected 11"),
        ("delete from journal where seq = 11", "journal row 12 follows one that is missing"),
    ],
)
async def test_the_rows_around_the_first_that_fails_are_shown(
    booked: str, inspector: Inspector, spoil: LiteralString, problem: str
) -> None:
    inspector.do(spoil)
    found = await examine(booked, portfolio(1))
    assert problem in (found.problem or "")
    shown = _shown(found)
    assert problem in shown
    assert "not in quarantine" in shown
    assert len(found.rows) == 2 * ROWS_AROUND + 1
    assert [row.problem is not None for row in found.rows][:ROWS_AROUND] == [False] * ROWS_AROUND
    assert found.rows[ROWS_AROUND].problem == found.problem
    assert found.rows[0].row.stored_hash.hex()[:12] in shown


async def test_amounts_and_both_hashes_are_shown(booked: str, inspector: Inspector) -> None:
    inspector.do("update journal set value = 8 where seq = 11")
    failing = (await examine(booked, portfolio(1))).rows[ROWS_AROUND].row
    assert failing.computed_hash is not None
    assert failing.computed_hash != failing.stored_hash
    shown = _shown(await examine(booked, portfolio(1)))
    for cell in ("BUY", "2.00000000", "3.50000000", "8.00", "0.25", failing.computed_hash.hex()[:12]):
        assert cell in shown


async def test_the_quarantine_and_the_way_out_of_it_are_told(booked: str, inspector: Inspector) -> None:
    inspector.do("insert into quarantine (portfolio_id, shard_id, reason) values ('P-1', 0, 'row 11 was [bad]')")
    shown = _shown(await examine(booked, portfolio(1)))
    assert "P-1 is in quarantine since 2" in shown
    assert "row 11 was [bad]" in shown
    assert "portfolio-state repair P-1 --retry" in shown


async def test_nothing_is_changed(booked: str, inspector: Inspector) -> None:
    inspector.do("update journal set value = 8 where seq = 11")
    before = inspector.rows("select * from journal order by seq")
    await examine(booked, portfolio(1))
    assert inspector.rows("select * from journal order by seq") == before
    assert inspector.rows("select * from quarantine") == []
