"""What a query is given to run in, and where it is stopped."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from io import BytesIO

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from analytics.sql.encoding import encode
from analytics.sql.engine import Rows, give_tables, open_engine, run
from analytics.sql.format import Format
from analytics.sql.limits import MIB, Limits
from analytics.sql.statement import Statement
from analytics.sql.tables import Table
from portfolio.errors import PortfolioError, QueryFailed, QueryTimeout, QueryTooLarge

LIMITS = Limits(memory_bytes=64 * MIB, rows_max=5_000, answer_bytes_max=MIB)
POSITIONS = pl.DataFrame(
    {"portfolio_id": ["A", "B"], "market_value": [Decimal("10.50"), Decimal("123456789012345678901234.01")]},
    schema={"portfolio_id": pl.String(), "market_value": pl.Decimal(38, 2)},
)


def answered(sql: str, limits: Limits = LIMITS) -> Rows:
    """What a statement gives that nobody has judged before: the engine itself is what is tested here."""
    with open_engine(limits) as connection:
        give_tables(connection, {Table.POSITIONS: POSITIONS.to_arrow()})
        return run(connection, Statement(sql, frozenset()), limits)


def test_a_query_reads_its_tables_exactly() -> None:
    rows = answered("select portfolio_id, market_value, market_value * 2 as twice from positions order by 1 desc")
    assert rows.table.to_pylist() == [
        {
            "portfolio_id": "B",
            "market_value": Decimal("123456789012345678901234.01"),
            "twice": Decimal("246913578024691357802468.02"),
        },
        {"portfolio_id": "A", "market_value": Decimal("10.50"), "twice": Decimal("21.00")},
    ]
    assert rows.types[:2] == ("VARCHAR", "DECIMAL(38,2)")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from read_blob('/proc/self/environ')",
        "select * from glob('/*')",
        "from '/etc/passwd'",
        "from 'https://example.com/x.parquet'",
        "select * from read_parquet('s3://bucket/x.parquet')",
        "select * from read_duckdb('/tmp/x.db')",
        "copy positions to '/tmp/x.csv'",
        "export database '/tmp/x'",
        "attach '/tmp/x.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set memory_limit = '100GB'",
        "set threads = 64",
        "set temp_directory = '/tmp'",
        "pragma enable_profiling = 'json'",
        "select getenv('HOME')",
    ],
)
def test_the_engine_refuses_the_outside_by_itself(sql: str) -> None:
    with pytest.raises(QueryFailed, match=r"Permission|disabled|locked|does not exist"):
        answered(sql)


def test_variables_of_this_program_are_no_tables() -> None:
    secrets = pl.DataFrame({"password": ["not for queries"]})
    assert secrets.height == 1
    with pytest.raises(QueryFailed, match="secrets does not exist"):
        answered("select * from secrets")


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from range(1000000000000)",
        "with recursive r as (select 1 as n union all select n + 1 from r) select max(n) from r",
        "select count(*) from range(10000000) a, range(10000000) b where a.range + b.range < 0",
        "select sum(x) from generate_series(1, 1000000000000) g(x)",
    ],
    ids=["count", "recursion", "cross join", "series"],
)
def test_a_query_without_an_end_is_interrupted(sql: str) -> None:
    began = time.process_time()
    with pytest.raises(QueryTimeout, match=r"compute for 0\.2 s"):
        answered(sql, Limits(computing_s=0.2))
    assert time.process_time() - began < 2


def test_a_query_that_waits_is_interrupted_too() -> None:
    with pytest.raises(QueryTimeout, match=r"wait for 0\.2 s"):
        answered("select pg_sleep(60)", Limits(waiting_s=0.2))


def test_rows_beyond_the_limit_are_never_made() -> None:
    assert answered("from range(5000)").table.num_rows == 5_000
    began = time.process_time()
    with pytest.raises(QueryTooLarge, match="more than 5,000 rows"):
        answered("from range(1000000000000)")
    assert time.process_time() - began < 5


def test_an_answer_that_is_too_large_is_refused() -> None:
    with pytest.raises(QueryTooLarge, match="larger than 1,048,576 bytes"):
        answered("select repeat('x', 1000) from range(2000)")


@pytest.mark.parametrize(
    "sql",
    [
        "select list(range) from range(100000000)",
        "select string_agg(range::varchar, ',') from range(100000000)",
        "select count(*) from (select distinct random() from range(100000000))",
        "select * from range(100000000) order by hash(range)",
    ],
    ids=["list", "text", "distinct", "sort"],
)
def test_what_the_engine_accounts_for_is_bounded(sql: str) -> None:
    with pytest.raises(QueryTooLarge, match="more than 64 MiB of memory"):
        answered(sql)


def test_what_goes_wrong_is_told_as_the_engine_tells_it() -> None:
    with pytest.raises(QueryFailed, match=r"'a' to INT32"):
        answered("select 'a'::integer")
    with pytest.raises(QueryFailed, match="nothing"):
        answered("select nothing from positions")
    with pytest.raises(QueryFailed, match="mine") as caught:
        answered("select error(repeat('mine', 10000))")
    assert len(caught.value.detail) <= 1_000


EVERYTHING = """
select
    1::bigint as n, 0.00000001::decimal(28, 8) as tiny, 100::decimal(38, 0) as whole, 'a,"b' as text, null as nothing,
    timestamptz '2025-06-21 12:00:00+02' as moment, timestamp '2025-06-21 10:00:00' as plain, date '2025-06-21' as day,
    true as yes, 'NaN'::double as nan, 1.5::double as float, [1.10, 2.20] as list, {'a': date '2025-06-21'} as struct,
    2::bigint as n
"""


def test_json_has_exact_numbers_and_the_types_of_columns() -> None:
    text = encode(answered(EVERYTHING), Format.JSON).decode()
    assert '[1,0.00000001,100,"a,\\"b",null,"2025-06-21T10:00:00.000000Z",' in text
    found = json.loads(text, parse_float=Decimal)
    (row,) = found["rows"]
    assert row[6:] == [
        "2025-06-21T10:00:00.000000", "2025-06-21", True, None, Decimal("1.5"),
        [Decimal("1.10"), Decimal("2.20")], {"a": "2025-06-21"}, 2,
    ]  # fmt: skip
    assert [column["name"] for column in found["columns"]][-2:] == ["struct", "n"]
    assert found["columns"][1] == {"name": "tiny", "type": "DECIMAL(28,8)"}


def test_csv_has_a_line_a_row() -> None:
    assert encode(answered(EVERYTHING), Format.CSV).decode().splitlines() == [
        "n,tiny,whole,text,nothing,moment,plain,day,yes,nan,float,list,struct,n",
        '1,0.00000001,100,"a,""b",,2025-06-21T10:00:00.000000Z,2025-06-21T10:00:00.000000,2025-06-21,true,nan,1.5,'
        '"[1.10,2.20]","{""a"":""2025-06-21""}",2',
    ]


def test_parquet_and_arrow_give_back_the_table() -> None:
    rows = answered("select portfolio_id, market_value from positions order by 1")
    assert pl.read_parquet(encode(rows, Format.PARQUET)).equals(POSITIONS)
    assert pa.ipc.open_file(BytesIO(encode(rows, Format.ARROW))).read_all() == rows.table


def test_what_a_format_cannot_hold_is_told() -> None:
    with pytest.raises(QueryFailed, match="Parquet cannot hold"):
        encode(answered("select interval 1 day"), Format.PARQUET)


@pytest.mark.parametrize("day", ["date 'infinity'", "timestamptz '-infinity'", "date '0044-03-15 (BC)'"])
@pytest.mark.parametrize("kind", [Format.JSON, Format.CSV])
def test_a_moment_beyond_the_calendar_is_told_with_its_column(day: str, kind: Format) -> None:
    with pytest.raises(QueryFailed, match="cannot hold column ides, cast it to VARCHAR"):
        encode(answered(f"select 1 as n, {day} as ides"), kind)


@pytest.mark.parametrize("kind", list(Format))
def test_a_result_without_rows_has_its_columns(kind: Format) -> None:
    assert b"market_value" in encode(answered("select market_value from positions where false"), kind)


def test_errors_are_ours() -> None:
    with pytest.raises(PortfolioError):
        answered("select 1 +")
    assert issubclass(duckdb.InterruptException, duckdb.Error)
