"""The journal in Postgres: what it keeps, what it refuses, and what recovery notices."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from persistence import row_codec
from persistence.journal import PostgresJournal
from portfolio.entries import Booked, Entry, Opened, StatusChanged
from portfolio.errors import Corrupt, Deposed, ShardUnavailable
from portfolio.ids import Currency, IdempotencyKey, InstrumentId, PortfolioId
from portfolio.ports import DamagedRow, Head, PendingRow, StoredRow
from portfolio.status import Status
from portfolio.transactions import Ratio, TransactionType
from tests.integration.conftest import Inspector, NewJournal
from tests.oracles.builders import NOW, buy, deposit, split
from tests.oracles.rows import Scribe, encoded, opened, portfolio, updated

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=30)
IDS = st.text("AZaz09._:-", min_size=1, max_size=100)
INSTRUMENTS = st.text("AZaz09._:/^=-", min_size=1, max_size=20)
MOMENTS = st.integers(-2_208_988_800_000_000, 253_402_214_400_000_000).map(
    lambda count: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count)
)
UNITS = st.integers(-(10**20) + 1, 10**20 - 1).map(lambda count: Decimal(count).scaleb(-8))
AMOUNTS = st.integers(-(10**20) + 1, 10**20 - 1).map(lambda count: Decimal(count).scaleb(-2))
TERMS = st.integers(1, 1_000_000)


def _described(kind: type[Entry], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        kind,
        portfolio_id=IDS.map(PortfolioId),
        version=st.just(0),
        effective_at=MOMENTS,
        recorded_at=MOMENTS,
        **fields,
    )


ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    _described(
        Opened,
        portfolio_name=PRINTABLE,
        base_currency=st.sampled_from(("USD", "XAU")).map(Currency),
        allow_short=st.booleans(),
        min_cash=st.none() | AMOUNTS,
    ),
    _described(StatusChanged, status=st.sampled_from(Status)),
    _described(
        Booked,
        transaction_id=st.uuids(),
        transaction_id_given=st.booleans(),
        transaction_type=st.sampled_from(TransactionType),
        instrument_id=INSTRUMENTS.map(InstrumentId),
        quantity=UNITS,
        price=UNITS,
        value=AMOUNTS,
        fee=AMOUNTS,
        ratio=st.none() | st.builds(Ratio, TERMS, TERMS),
        mark=st.none() | UNITS,
    ),
)
KEYS = st.none() | PRINTABLE.map(IdempotencyKey)
ROWS = st.lists(st.tuples(ENTRIES, KEYS, st.binary(min_size=16, max_size=16)), min_size=1, max_size=30)
_versions = itertools.count(1)


async def _read(journal: PostgresJournal, after_seq: int = 0) -> list[StoredRow]:
    claim = await journal.claim()
    rows = [row async for row in journal.tail(claim, after_seq)]
    assert all(isinstance(row, StoredRow) for row in rows)
    return [row for row in rows if isinstance(row, StoredRow)]


@settings(
    max_examples=40,
    # Shrinking asks the server again and again; the first example that fails says enough.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=ROWS)
async def test_every_entry_comes_back_to_the_last_digit_with_the_hash_it_was_given(
    journal: PostgresJournal, drawn: list[tuple[Entry, IdempotencyKey | None, bytes]]
) -> None:
    before = (await journal.claim()).head
    rows = []
    for entry, key, content in drawn:
        version = next(_versions)
        unique = None if key is None else IdempotencyKey(f"{version} {key}")
        numbered = replace(entry, version=version)
        if isinstance(numbered, Booked):
            # Hypothesis gives an id again, a caller must not.
            numbered = replace(numbered, transaction_id=UUID(int=version))
        rows.append(PendingRow(numbered, unique, None if key is None else content))
    await journal.append(rows)
    found = await _read(journal, before.seq)
    assert [repr(PendingRow(row.entry, row.idempotency_key, row.request_hash)) for row in found] == list(
        map(repr, rows)
    )
    previous = before.row_hash
    for row in found:
        assert row_codec.rehashed(row, previous) == row.row_hash
        previous = row.row_hash


async def test_the_largest_and_the_smallest_numbers_are_exact(journal: PostgresJournal) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1, cash="123456789012.99")))
    await journal.append(
        scribe.rows(updated(1, buy("123456.12345678", "999999999999.12345678"), buy("0.00000001", "1")))
    )
    *_, large, small = await _read(journal)
    assert isinstance(large.entry, Booked)
    assert isinstance(small.entry, Booked)
    assert str(large.entry.price) == "999999999999.12345678"
    assert str(large.entry.quantity) == "123456.12345678"
    assert small.entry.quantity == Decimal("0.00000001")


async def test_rows_are_numbered_without_gaps_through_refusals_and_claims(
    new_journal: NewJournal, journal: PostgresJournal, inspector: Inspector
) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1)) + scribe.rows(updated(1, key="k")))
    book = scribe.books[portfolio(1)]
    with pytest.raises(Exception, match="journal_idempotency_key"):
        await journal.append(scribe.rows(updated(1, key="k")))
    scribe.undo(book)
    second = new_journal("second")
    await second.claim()
    with pytest.raises(Deposed):
        await journal.append(scribe.rows(updated(1)))
    scribe.undo(book)
    await second.append(scribe.rows(updated(1)))
    assert inspector.sequence_is_gapless()
    assert inspector.one("select array_agg(epoch order by seq) from journal") == [1, 1, 2]
    assert len(await _read(second)) == 3


def _tampered(name: str, statement: LiteralString) -> Any:
    return pytest.param(statement, id=name)


@pytest.mark.parametrize(
    "statement",
    [
        _tampered("amount", "update journal set value = value + 0.01 where seq = 3"),
        _tampered("quantity", "update journal set quantity = quantity * 2 where seq = 3"),
        _tampered("time", "update journal set effective_at = effective_at + interval '1 microsecond' where seq = 3"),
        _tampered("instrument", "update journal set instrument_id = 'Y' where seq = 3"),
        _tampered("type", "update journal set transaction_type = 'TRANSFER_IN' where seq = 3"),
        _tampered("unknown type", "update journal set transaction_type = 'GIFT' where seq = 3"),
        _tampered("nothing", "update journal set transaction_type = null, quantity = null where seq = 3"),
        _tampered("key", "update journal set idempotency_key = 'other' where seq = 5"),
        _tampered("request hash", "update journal set request_hash = '\\x00' where seq = 5"),
        _tampered("transaction id", "update journal set transaction_id = gen_random_uuid() where seq = 3"),
        _tampered("ratio", "update journal set detail = jsonb_set(detail, '{ratio}', '\"3:1\"') where seq = 4"),
        _tampered("bad ratio", "update journal set detail = jsonb_set(detail, '{ratio}', '\"0:1\"') where seq = 4"),
        _tampered("bad mark", "update journal set detail = jsonb_set(detail, '{mark}', '\"x\"') where seq = 4"),
        _tampered("name", "update journal set detail = jsonb_set(detail, '{portfolio_name}', '\"x\"') where seq = 1"),
        _tampered("no name", "update journal set detail = detail - 'portfolio_name' where seq = 1"),
        _tampered("no detail", "update journal set detail = null where seq = 1"),
        _tampered("format", "update journal set format = 2 where seq = 2"),
        _tampered("hash", "update journal set row_hash = sha256(row_hash) where seq = 2"),
        _tampered("rows swapped", "update journal set seq = case seq when 2 then 3 else 2 end where seq in (2, 3)"),
        _tampered("portfolio", "update journal set portfolio_id = 'P-2' where seq = 3"),
    ],
)
async def test_a_tampered_row_is_named_and_those_around_it_are_whole(
    journal: PostgresJournal, inspector: Inspector, statement: LiteralString
) -> None:
    await _five_rows(journal)
    if "case seq" in statement:
        inspector.do("alter table journal drop constraint journal_pkey")
    assert inspector.do(statement) != 0
    claim = await journal.claim()
    rows = [row async for row in journal.tail(claim, 0)]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    damaged = [row for row in rows if isinstance(row, DamagedRow)]
    assert 1 <= len(damaged) <= 3
    assert all(str(row.seq) in row.reason for row in damaged)


async def _five_rows(journal: PostgresJournal) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1, cash="1000")))
    await journal.append(scribe.rows(updated(1, buy("10", "7"), split("2:1"))))
    await journal.append(scribe.rows(updated(1, deposit("1"), key="k")))
    assert len(await _read(journal)) == 5


@pytest.mark.parametrize(
    "statement",
    [
        _tampered("last hash", "update journal set row_hash = sha256(row_hash) where seq = 5"),
        _tampered("row gone", "delete from journal where seq = 2"),
        _tampered("first row gone", "delete from journal where seq = 1"),
        _tampered("last row gone", "delete from journal where seq = 5"),
        _tampered("all rows gone", "truncate journal"),
        _tampered("head", "update shards set head_seq = 4 where shard_id = 0"),
        _tampered("head hash", "update shards set head_hash = '' where shard_id = 0"),
    ],
)
async def test_a_journal_that_is_not_whole_is_found(
    journal: PostgresJournal, inspector: Inspector, statement: LiteralString
) -> None:
    await _five_rows(journal)
    assert inspector.do(statement) != 0
    with pytest.raises(Corrupt):
        await _read(journal)


async def test_a_row_that_nobody_appended_is_found(journal: PostgresJournal, inspector: Inspector) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1)))
    await journal.append(scribe.rows(updated(1)))
    inspector.do("update shards set head_seq = 1, head_hash = (select row_hash from journal where seq = 1)")
    with pytest.raises(Corrupt, match="expected 1"):
        await _read(journal)


async def test_a_checkpoint_that_ends_nowhere_is_found(journal: PostgresJournal) -> None:
    claim = await journal.claim()
    with pytest.raises(Corrupt, match="row 7"):
        _ = [row async for row in journal.tail(claim, 7)]


async def test_rows_of_the_next_owner_are_no_corruption(new_journal: NewJournal, journal: PostgresJournal) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1)))
    claim = await journal.claim()
    second = new_journal("second")
    await second.claim()
    await second.append(scribe.rows(updated(1)))
    with pytest.raises(Deposed):
        _ = [row async for row in journal.tail(claim, 0)]


async def test_a_tail_of_many_fetches_is_whole(journal: PostgresJournal) -> None:
    scribe = Scribe()
    rows = scribe.rows(opened(1))
    for _ in range(5):
        rows += scribe.rows(updated(1, *[deposit("0.01")] * 900))
    await journal.append(rows)
    assert [row.seq for row in await _read(journal)] == list(range(1, 4_502))


async def test_a_leaving_reader_gives_its_connection_back(
    journal: PostgresJournal, pool: AsyncConnectionPool[Any]
) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1)) + scribe.rows(updated(1)))
    claim = await journal.claim()
    for _ in range(5):
        rows = journal.tail(claim, 0)
        await anext(rows)
        await rows.aclose()
    assert len(await _read(journal)) == 2
    assert pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"]


@pytest.mark.parametrize(
    ("provoke", "relent"),
    [
        (
            "alter table journal add constraint no_x check (instrument_id <> 'X')",
            "alter table journal drop constraint no_x",
        ),
        (
            "alter table journal alter column quantity type numeric(6, 2)",
            "alter table journal alter column quantity type numeric(28, 8)",
        ),
    ],
)
async def test_a_statement_that_postgres_refuses_leaves_nothing_behind(
    journal: PostgresJournal, inspector: Inspector, provoke: LiteralString, relent: LiteralString
) -> None:
    scribe = Scribe()
    await journal.append(scribe.rows(opened(1)))
    inspector.do("drop view portfolio_transactions")
    inspector.do(provoke)
    book = scribe.books[portfolio(1)]
    rows = scribe.rows(updated(1, deposit("1"), buy("123456", "1")))
    with pytest.raises(ShardUnavailable, match="refused"):
        await journal.append(rows)
    assert inspector.one("select count(*) from journal") == 1
    inspector.do(relent)
    await journal.append(rows)
    assert (book.version, len(await _read(journal))) == (1, 3)
    assert inspector.sequence_is_gapless()


async def test_a_statement_that_takes_too_long_leaves_nothing_behind(
    new_journal: NewJournal, inspector: Inspector
) -> None:
    journal = new_journal("impatient")
    await journal.claim()
    scribe = Scribe()
    rows = scribe.rows(opened(1))
    assert journal._connection is not None
    await journal._connection.execute("set statement_timeout = '50ms'")
    with inspector.connection.transaction():
        inspector.do("lock table journal in exclusive mode")
        with pytest.raises(ShardUnavailable, match="statement timeout"):
            await journal.append(rows)
    await journal._connection.execute("reset statement_timeout")
    await journal.append(rows)
    assert len(await _read(journal)) == 1


async def test_appends_wait_for_each_other_in_two_shards_without_deadlock(
    new_journal: NewJournal, inspector: Inspector
) -> None:
    scribe = Scribe()
    journals = [new_journal(f"owner {number}", shard_id=number) for number in (0, 1)]
    for journal in journals:
        await journal.claim()

    async def write(number: int) -> None:
        for turn in range(40):
            await journals[number].append(scribe.rows(updated(number) if turn else opened(number)))

    await asyncio.gather(write(0), write(1))
    assert inspector.sequence_is_gapless()


async def test_a_shard_that_the_database_does_not_have_cannot_be_claimed(
    new_journal: NewJournal,
) -> None:
    journal = new_journal("nobody", shard_id=99)
    with pytest.raises(Corrupt, match="no shard 99"):
        await journal.claim()


async def test_an_append_that_repeats_a_version_is_corrupt(journal: PostgresJournal, inspector: Inspector) -> None:
    rows = Scribe().rows(opened(1))
    await journal.append(rows)
    with pytest.raises(Corrupt, match="journal_version_key"):
        await journal.append(rows)
    assert inspector.one("select count(*) from journal") == 1


async def test_what_psql_shows_of_transactions_is_what_design_says(
    journal: PostgresJournal, inspector: Inspector
) -> None:
    scribe = Scribe()
    given_id = UUID(int=7)
    await journal.append(scribe.rows(opened(1)))
    backdated = replace(updated(1, buy("3", "7.5"), transaction_id=given_id), effective_at=NOW - timedelta(days=1))
    await journal.append(scribe.rows(backdated))
    columns = [
        "id", "portfolio_id", "instrument_id", "transaction_type", "quantity", "price", "transaction_value",
        "transaction_date",
    ]  # fmt: skip
    found = inspector.rows(
        "select column_name from information_schema.columns where table_name = 'portfolio_transactions'"
        " order by ordinal_position"
    )
    assert [name for (name,) in found] == columns
    assert inspector.rows("select * from portfolio_transactions") == [
        (given_id, "P-1", "X", "BUY", Decimal(3), Decimal("7.5"), Decimal("22.50"), NOW - timedelta(days=1))
    ]


def test_a_hash_depends_on_the_row_before_it_and_on_every_column() -> None:
    rows = Scribe().rows(opened(1, key="k", cash="5"))
    batch = encoded(rows, Head(0, b""))
    assert encoded(rows, Head(0, b"x")).head.row_hash != batch.head.row_hash
    assert encoded(rows, Head(1, b"")).head.row_hash != batch.head.row_hash
