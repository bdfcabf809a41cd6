"""What a query may be."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from analytics.sql.engine import open_engine
from analytics.sql.limits import SQL_LENGTH_MAX, Limits
from analytics.sql.statement import understand
from analytics.sql.tables import Table
from portfolio.errors import PortfolioError, QueryFailed, QueryRefused


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = open_engine(Limits())
    # There to be written to, if anything could.
    connection.execute("create table positions (a integer)")
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("select 1", set()),
        ("values (1), (2);", set()),
        ("from positions", {Table.POSITIONS}),
        ('SELECT * FROM "Positions" p JOIN Portfolios USING (portfolio_id)', {Table.POSITIONS, Table.PORTFOLIOS}),
        (
            "select (select max(price_date) from prices) from (select 1) where exists (from history)",
            {Table.PRICES, Table.HISTORY},
        ),
        ("with t as (from transactions) select count(*) from t", {Table.TRANSACTIONS}),
        # A name holds from its definition on, so the inner one is ours.
        ("with positions as (select * from positions) select * from positions", {Table.POSITIONS}),
        ("with positions as (select 1) select * from positions", set()),
        ("with recursive r as (select 1 as n union all select n + 1 from r where n < 9) select * from r", set()),
        ("with a as (select 1), b as (from a) select * from b, lateral (from a)", set()),
        ("select 1 union all by name select a from positions except select 2", {Table.POSITIONS}),
        ("select * from (pivot positions on a in (1, 2) using count(*))", {Table.POSITIONS}),
        ("unpivot positions on a into name n value v", {Table.POSITIONS}),
        ("select distinct on (a) a from positions order by a desc nulls last limit 5 offset 1", {Table.POSITIONS}),
        ("select a, sum(a) over (order by a) from positions qualify row_number() over () = 1", {Table.POSITIONS}),
        ("select * from positions tablesample 10%", {Table.POSITIONS}),
        ("select a, count(*) from positions group by grouping sets ((a), ()) having count(*) > 1", {Table.POSITIONS}),
        ("select * from range(3) r, generate_series(1, 2) g, unnest([1, 2]) u", set()),
        ("describe positions", {Table.POSITIONS}),
        ("summarize positions", {Table.POSITIONS}),
        ("explain select * from positions", {Table.POSITIONS}),
        ("EXPLAIN ANALYZE select * from prices", {Table.PRICES}),
        ("show tables", set()),
        ("select 1 -- and; no; more", set()),
    ],
)
def test_what_only_reads_is_understood(engine: duckdb.DuckDBPyConnection, sql: str, tables: set[Table]) -> None:
    assert understand(engine, sql).tables == tables


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("", "0 statements"),
        ("select 1; select 2", "2 statements"),
        ("insert into positions values (1)", "INSERT"),
        ("update positions set a = 1", "UPDATE"),
        ("delete from positions returning a", "DELETE"),
        ("create table t as select 1", "CREATE"),
        ("drop table positions", "DROP"),
        ("alter table positions add column b integer", "ALTER"),
        ("truncate positions", "DELETE"),
        ("copy positions to '/tmp/positions.csv'", "COPY"),
        ("copy positions from '/etc/passwd'", "COPY"),
        ("export database '/tmp'", "EXPORT"),
        ("attach '/tmp/other.db'", "ATTACH"),
        ("attach ':memory:' as other", "ATTACH"),
        ("install httpfs", "LOAD"),
        ("load httpfs", "LOAD"),
        ("set memory_limit = '100GB'", "SET"),
        ("reset threads", "SET"),
        ("set variable a = 1", "SET"),
        ("pragma database_size", "PRAGMA"),
        ("pragma enable_profiling", "PRAGMA"),
        ("call pragma_version()", "CALL"),
        ("prepare p as select 1", "PREPARE"),
        ("begin", "TRANSACTION"),
        ("checkpoint", "CALL"),
        ("vacuum", "VACUUM"),
        ("use memory", "SET"),
        ("create secret (type s3)", "CREATE"),
        ("pivot positions on a using count(*)", "PIVOT has to name its values"),
        ("explain insert into positions values (1)", "Only SELECT"),
        ("explain analyze copy positions to '/tmp/x.csv'", "Only SELECT"),
        # To the engine these are SELECTs.
        ("with x as (insert into positions values (1) returning *) select * from x", "INSERT_QUERY_NODE"),
        ("with x as (update positions set a = 1 returning *) select * from x", "UPDATE_QUERY_NODE"),
        ("select * from (with x as (delete from positions returning *) select * from x)", "DELETE_QUERY_NODE"),
        ("select * from query('select 1')", "query"),
        ("select * from QUERY_TABLE('positions')", "query_table"),
        ("select * from read_csv('/etc/passwd')", "read_csv"),
        ("select * from system.main.read_text('/etc/passwd')", "read_text"),
        ("select * from read_parquet('https://example.com/x.parquet')", "read_parquet"),
        ("select (select max(content) from read_blob('/proc/self/environ'))", "read_blob"),
        ("with x as (select 1) select * from x, glob('/*')", "glob"),
        ("select * from sniff_csv('/etc/passwd')", "sniff_csv"),
        ("select * from duckdb_settings()", "duckdb_settings"),
        ("select * from json_execute_serialized_sql(json_serialize_sql('select 1'))", "json_execute_serialized_sql"),
        ("select * from pandas_scan(1)", "pandas_scan"),
        ("select json_serialize_plan('select * from read_csv(''/etc/passwd'')')", "json_serialize_plan"),
        ("select 'select 1'.json_serialize_plan()", "json_serialize_plan"),
        ("select current_setting('secret_directory')", "current_setting"),
        ("select write_log('x')", "write_log"),
        ("select pg_sleep(60)", "pg_sleep"),
        ("select sleep_ms(60000)", "sleep_ms"),
        ("from '/etc/passwd'", "/etc/passwd"),
        ("select * from 's3://bucket/x.parquet'", "s3://bucket/x.parquet"),
        ("select * from nothing", "nothing"),
        ("select * from main.positions", "main.positions"),
        ("select * from pg_catalog.pg_settings", "pg_settings"),
        ("from information_schema.tables", "information_schema"),
        # Only a recursive expression can mean itself: this one means the engine's table.
        ("with pg_settings as (from pg_settings) from pg_settings", "pg_settings"),
        # What is named within one subquery is not known in another.
        ("select * from (with pg_settings as (select 1) from pg_settings), pg_settings", "pg_settings"),
    ],
)
def test_anything_else_is_refused_and_told_what(engine: duckdb.DuckDBPyConnection, sql: str, named: str) -> None:
    with pytest.raises(QueryRefused) as caught:
        understand(engine, sql)
    assert named in caught.value.detail


def test_what_is_no_sql_is_told_as_the_engine_tells_it(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryFailed, match="syntax error"):
        understand(engine, "selct 1")


def test_a_query_may_not_be_endlessly_long(engine: duckdb.DuckDBPyConnection) -> None:
    longest = "select 1 --".ljust(SQL_LENGTH_MAX, "x")
    assert understand(engine, longest).tables == set()
    with pytest.raises(QueryRefused, match="20,001 characters"):
        understand(engine, longest + "x")


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 9_000 + "1" + ")" * 9_000,
        "select " + "[" * 9_000 + "]" * 9_000,
        "select " + "not " * 4_000 + "true",
        "select " + "abs(" * 3_000 + "1" + ")" * 3_000,
        "select " + "1+" * 9_000 + "1",
        "from " + "(from " * 2_000 + "range(1)" + ")" * 2_000,
        "select 1" + "::int" * 3_000,
    ],
    ids=["parentheses", "lists", "nots", "calls", "sums", "subqueries", "casts"],
)
def test_deep_nesting_is_refused_and_breaks_nothing(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(PortfolioError, match=r"nested too deeply|expression depth"):
        understand(engine, sql)
    assert understand(engine, "from positions").tables == {Table.POSITIONS}
