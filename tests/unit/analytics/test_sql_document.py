"""docs/sql.md says what the tables are, and its examples run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from analytics import frames
from analytics.sql.engine import give_tables, open_engine, run
from analytics.sql.limits import SQL_LENGTH_MAX, Limits
from analytics.sql.statement import understand
from analytics.sql.tables import Table

TEXT = (Path(__file__).parents[3] / "docs" / "sql.md").read_text(encoding="utf-8")
SCHEMAS = {
    Table.PORTFOLIOS: frames.PORTFOLIOS,
    Table.POSITIONS: frames.POSITIONS,
    Table.TRANSACTIONS: frames.TRANSACTIONS,
    Table.PRICES: frames.PRICES,
    Table.HISTORY: frames.HISTORY,
}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine with the tables, which have no rows."""
    with open_engine(Limits()) as connection:
        give_tables(connection, {name: pl.DataFrame(schema=schema).to_arrow() for name, schema in SCHEMAS.items()})
        yield connection


@pytest.mark.parametrize("name", list(Table))
def test_columns_and_types_are_as_documented(engine: duckdb.DuckDBPyConnection, name: Table) -> None:
    section = TEXT.partition(f"### {name}\n")[2].partition("\n#")[0]
    documented = re.findall(r"^\| (\w+) \| ([A-Z][\w ,()]+) \|", section, re.MULTILINE)
    described = run(engine, understand(engine, f"describe {name}"), Limits()).table.to_pylist()
    assert documented == [(column["column_name"], column["column_type"]) for column in described]


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.+?)```", TEXT, re.DOTALL))
def test_examples_run(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert run(engine, understand(engine, sql), Limits()).table.num_columns > 1


def test_limits_are_as_documented() -> None:
    limits = Limits()
    for text in (
        f"{SQL_LENGTH_MAX:,} characters",
        f"{limits.computing_s:g} s of computing",
        f"{limits.memory_bytes // 1024**3} GiB besides",
        f"{limits.rows_max:,} rows, {limits.answer_bytes_max // 1024**2} MiB",
    ):
        assert text in TEXT
