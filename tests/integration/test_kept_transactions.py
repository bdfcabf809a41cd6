"""The journal's transactions as a query's worker keeps them: all of them, each once, exact, and read once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from psycopg_pool import AsyncConnectionPool

from analytics import frames
from analytics.sql.kept_transactions import KeptTransactions
from analytics.sql.opened import opened as tables_at
from persistence import transaction_text as transaction_text_module
from persistence.journal import PostgresJournal
from persistence.transaction_text import transaction_text
from portfolio.entries import Entry
from portfolio.errors import QueryTooLarge
from portfolio.ids import ShardId
from portfolio.ports import PendingRow
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy, split
from tests.oracles.rows import Scribe, opened, updated

_PATIENCE_S = 30.0


async def read(kept: KeptTransactions, pool: AsyncConnectionPool[Any]) -> int:
    """Take in what has come; gives the bytes that were read for it."""
    size = 0
    async with transaction_text(pool, kept.heads) as text:

        async def counted() -> AsyncGenerator[bytes, None]:
            nonlocal size
            async for chunk in text.chunks():
                size += len(chunk)
                yield chunk

        await kept.go_on(text.known, text.heads, counted())
    return size


def rows_of(kept: KeptTransactions) -> list[tuple[Any, ...]]:
    return pl.DataFrame(tables_at(kept.descriptors)).sort("portfolio_id", "version").rows()


def expected(rows: Sequence[PendingRow]) -> list[tuple[Any, ...]]:
    entries: list[Entry] = [row.entry for row in rows]
    return frames.transactions(entries).sort("portfolio_id", "version").rows()


async def test_what_is_kept_is_the_journal_to_the_last_digit(
    journal: PostgresJournal, pool: AsyncConnectionPool[Any]
) -> None:
    kept, scribe = KeptTransactions(), Scribe()
    await read(kept, pool)
    assert rows_of(kept) == []
    rows = scribe.rows(opened(1, cash="123456789012.99"))
    rows += scribe.rows(updated(1, buy("123456.12345678", "999999.12345678", fee="0.01"), split("3:2")))
    await journal.append(rows)
    await read(kept, pool)
    assert rows_of(kept) == expected(rows)
    assert rows_of(kept)[1][5:7] == (Decimal("123456.12345678"), Decimal("999999.12345678"))


async def test_only_what_has_come_since_is_read(
    database: str, journal: PostgresJournal, pool: AsyncConnectionPool[Any]
) -> None:
    kept, scribe = KeptTransactions(), Scribe()
    other = PostgresJournal(database, ShardId(1), "first", pool)
    await other.claim()
    written: list[PendingRow] = []
    for number in range(10):
        for shard in (journal, other):
            rows = scribe.rows(opened(len(written), cash="1")) + scribe.rows(updated(len(written)))
            await shard.append(rows)
            written += rows
            assert 0 < await read(kept, pool) < 400, number
    assert rows_of(kept) == expected(written)
    assert await read(kept, pool) == 0
    # However often something came, they are few tables that a query is handed.
    assert len(kept.descriptors) <= 16
    await other.close()


async def test_another_journal_in_its_place_is_read_anew(
    database: str, journal: PostgresJournal, pool: AsyncConnectionPool[Any], inspector: Inspector
) -> None:
    kept, scribe = KeptTransactions(), Scribe()
    first = scribe.rows(opened(1, cash="1"))
    book = scribe.books[first[0].entry.portfolio_id]
    lost = scribe.rows(updated(1, buy("1", "1")))
    await journal.append(first + lost)
    await read(kept, pool)
    # As a backup from before the second update, on which another one was booked.
    inspector.do("delete from journal where version > 2")
    inspector.do(
        "update shards set head_seq = 2, head_hash = (select row_hash from journal where seq = 2) where shard_id = 0"
    )
    scribe.undo(book)
    other = scribe.rows(updated(1, buy("2", "3")))
    successor = PostgresJournal(database, ShardId(0), "second", pool)
    await successor.claim()
    await successor.append(other)
    await read(kept, pool)
    assert rows_of(kept) == expected(first + other)
    await successor.close()


async def test_a_journal_that_is_too_long_is_refused_and_nothing_is_lost(
    journal: PostgresJournal, pool: AsyncConnectionPool[Any]
) -> None:
    kept, scribe = KeptTransactions(rows_max=2), Scribe()
    rows = scribe.rows(opened(1, cash="1"))
    await journal.append(rows)
    await read(kept, pool)
    await journal.append(scribe.rows(updated(1, buy("1", "1"), buy("2", "1"))))
    with pytest.raises(QueryTooLarge, match="more than 2 transactions"):
        await read(kept, pool)
    assert rows_of(kept) == expected(rows)


async def test_a_refusal_in_the_middle_of_reading_leaves_the_connection_free(
    journal: PostgresJournal, pool: AsyncConnectionPool[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_text_module, "_CHUNK_BYTES", 100)
    kept, scribe = KeptTransactions(rows_max=5), Scribe()
    for number in range(40):
        await journal.append(scribe.rows(opened(number, cash="1")))
    async with asyncio.timeout(_PATIENCE_S):
        with pytest.raises(QueryTooLarge):
            async with transaction_text(pool, kept.heads) as text:
                await kept.go_on(text.known, text.heads, text.chunks())
        assert await read(KeptTransactions(), pool) > 0
