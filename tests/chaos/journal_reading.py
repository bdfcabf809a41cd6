"""What the database holds after the chaos, read with SQL and nothing of the service's."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psycopg

from actors.rendering import Encoded, encode
from persistence.row_codec import decode
from persistence.statements import SQL
from portfolio.book import Mark
from portfolio.entries import Entry
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ledger import replay
from portfolio.ports import Head, StoredRow
from tests.chaos.journal_checks import ShardJournal


@dataclass(frozen=True, slots=True)
class Truth:
    """The journals of all shards, and the market marks."""

    journals: dict[ShardId, ShardJournal]
    marks: dict[InstrumentId, Mark]

    @property
    def row_count(self) -> int:
        """Rows of all shards."""
        return sum(len(journal.rows) for journal in self.journals.values())

    def documents(self) -> dict[PortfolioId, Encoded]:
        """What every portfolio must look like: its entries replayed from the first, valued at the marks."""
        entries: dict[PortfolioId, list[Entry]] = defaultdict(list)
        for journal in self.journals.values():
            for row in journal.rows:
                entries[row.entry.portfolio_id].append(row.entry)
        return {portfolio_id: encode(replay(None, found), self.marks) for portfolio_id, found in entries.items()}


def read_truth(dsn: str) -> Truth:
    """Everything that is committed."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set time zone 'UTC'")
        heads = connection.execute("select shard_id, head_seq, head_hash from shards order by shard_id").fetchall()
        journals = {
            ShardId(shard_id): ShardJournal(_rows(connection, shard_id), Head(seq, row_hash))
            for shard_id, seq, row_hash in heads
        }
        marks = connection.execute("select instrument_id, price, as_of from marks").fetchall()
    return Truth(journals, {InstrumentId(name): Mark(price, as_of) for name, price, as_of in marks})


def _rows(connection: psycopg.Connection[tuple[Any, ...]], shard_id: int) -> list[StoredRow]:
    cursor = connection.execute(
        SQL["select_journal_tail"], {"shard_id": shard_id, "after_seq": 0, "until_seq": 2**63 - 1}
    )
    return [decode(columns) for columns in cursor]
