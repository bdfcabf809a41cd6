"""A query's process: what it is handed, what it cannot reach, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from tempfile import TemporaryFile

import polars as pl
import psutil
import pytest

from analytics.sql.format import Format
from analytics.sql.limits import MIB, Limits
from analytics.sql.messages import Answer, Question
from analytics.sql.process import QueryProcess
from analytics.sql.shared import SharedTable
from analytics.sql.tables import Table
from portfolio.errors import PortfolioError, QueryFailed, QueryRefused, QueryTimeout, QueryTooLarge
from serve_app.query_desk import QueryDesk
from tests.cluster.service_process import is_alive, wait_until

LIMITS = Limits(memory_bytes=256 * MIB)
_PATIENCE_S = 120.0
ENDLESS = "select count(*) from portfolios, range(1000000000000)"
SCHEMA = {"portfolio_id": pl.String(), "total_value": pl.Decimal(38, 2)}


@pytest.fixture(scope="module")
def shared() -> Iterator[list[SharedTable]]:
    """A table in two parts."""
    parts = [
        SharedTable(pl.DataFrame({"portfolio_id": [name], "total_value": [Decimal(value)]}, schema=SCHEMA))
        for name, value in (("A", "0.10"), ("B", "123456789012345678901234.01"))
    ]
    yield parts
    for part in parts:
        part.close()


def asked(sql: str, shared: list[SharedTable], limits: Limits = LIMITS, wanted: Format = Format.JSON) -> Answer:
    with QueryProcess() as process:
        process.understand(Question(sql, wanted, limits))
        return process.answer({Table.PORTFOLIOS: [part.fd for part in shared]}, limits)


def test_a_query_reads_the_tables_that_it_is_handed(shared: list[SharedTable]) -> None:
    answer = asked("select *, now() is not null as now from portfolios order by 1", shared)
    assert answer.row_count == 2
    assert b'[["A",0.10,true],["B",123456789012345678901234.01,true]]' in answer.body


def test_what_is_shared_can_be_changed_by_nobody(shared: list[SharedTable]) -> None:
    with pytest.raises(PermissionError):
        os.pwrite(shared[0].fd, b"x", 0)


def test_it_says_which_tables_it_needs_before_it_runs() -> None:
    with QueryProcess() as process:
        question = Question("select * from prices, (from history), range(9)", Format.JSON, LIMITS)
        assert process.understand(question) == [Table.HISTORY, Table.PRICES]


def test_a_refusal_comes_with_its_cause(shared: list[SharedTable]) -> None:
    with pytest.raises(QueryRefused, match="read_csv") as caught:
        asked("from read_csv('/etc/passwd')", shared)
    assert caught.value.cause == {"function": "read_csv"}


@pytest.mark.parametrize(
    "sql",
    [
        # The engine's own limit knows nothing of these.
        "select lpad('x', 2000000000, 'y')",
        "select length(repeat('x', 2000000000)) from range(1000)",
        "select max(length(repeat('x', 10000000) || range)) from range(100000)",
        "select len(list_resize([1], 10000000000))",
        "select len(str_split(repeat('a,', 100000000), ','))",
        "select unnest(range(1000000000))",
    ],
    ids=["lpad", "repeat", "many texts", "list_resize", "split", "unnest"],
)
def test_memory_that_the_engine_does_not_count_is_bounded(sql: str, shared: list[SharedTable]) -> None:
    with pytest.raises((QueryTooLarge, QueryTimeout), match=r"256 MiB of memory|compute for 2 s"):
        asked(sql, shared, Limits(computing_s=2, memory_bytes=256 * MIB))


def test_a_query_that_hears_no_interruption_is_ended_by_the_kernel(shared: list[SharedTable]) -> None:
    with pytest.raises(QueryTimeout, match=r"compute for 0\.5 s"):
        asked("select levenshtein(repeat('a', 200000), repeat('b', 200000))", shared, Limits(computing_s=0.5))


def test_a_plan_without_an_end_is_ended_too(shared: list[SharedTable]) -> None:
    views = ", ".join(f"v{i + 1} as (select a.* from v{i} a, v{i} b)" for i in range(40))
    with pytest.raises((QueryTimeout, QueryTooLarge)):
        asked(
            f"with v0 as (select range as n from range(2)), {views} select count(*) from v40",
            shared,
            Limits(computing_s=0.5),
        )


def test_its_process_knows_no_address_and_can_open_nothing(
    shared: list[SharedTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTFOLIO_POSTGRES_DSN", "postgresql://somebody:secret@there/db")
    with asking(ENDLESS, shared) as (child, _):
        # This bound is the last that it sets.
        assert wait_until(lambda: child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0), _PATIENCE_S)
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_DATA)[1] < 1024 * MIB
        assert not any("secret" in value for value in child.environ().values())
        assert child.net_connections("inet") == []


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGSEGV, QueryFailed), (signal.SIGALRM, QueryTimeout), (signal.SIGKILL, QueryTooLarge)],
)
def test_a_process_that_dies_is_told_as_an_error(
    number: signal.Signals, error: type[PortfolioError], shared: list[SharedTable]
) -> None:
    with asking(ENDLESS, shared) as (child, outcome):
        assert wait_until(lambda: child.rlimit(psutil.RLIMIT_NOFILE) == (0, 0), _PATIENCE_S)
        child.send_signal(number)
        assert isinstance(outcome.exception(_PATIENCE_S), error)


@contextmanager
def asking(sql: str, shared: list[SharedTable]) -> Iterator[tuple[psutil.Process, Future[Answer]]]:
    """A query that is under way: its process, and what becomes of it."""
    with QueryProcess() as process, ThreadPoolExecutor(1) as others:
        process.understand(Question(sql, Format.JSON, LIMITS))
        tables = {Table.PORTFOLIOS: [part.fd for part in shared]}
        outcome = others.submit(process.answer, tables, LIMITS)
        yield psutil.Process(process.pid), outcome
        # The thread that waits for it is not to wait for long.
        process.kill()


def test_a_process_whose_asker_has_gone_ends_by_itself() -> None:
    asker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from analytics.sql.process import QueryProcess; import time; p = QueryProcess(); print(p.pid, flush=True); time.sleep(99)",
        ],
        stdout=subprocess.PIPE,
    )
    assert asker.stdout is not None
    pid = int(asker.stdout.readline())
    asker.kill()
    asker.wait()
    asker.stdout.close()
    assert wait_until(lambda: not psutil.pid_exists(pid), _PATIENCE_S)


@pytest.mark.parametrize("wanted", list(Format))
def test_every_format_can_be_written_without_opening_anything(shared: list[SharedTable], wanted: Format) -> None:
    sql = "select *, now() as moment, current_date as day, [now()] as moments, uuid() as id from portfolios"
    assert asked(sql, shared, wanted=wanted).row_count == 2


def test_what_nobody_foresaw_is_told_too() -> None:
    with QueryProcess() as process, TemporaryFile() as no_table:
        process.understand(Question("from portfolios", Format.JSON, LIMITS))
        no_table.write(b"x" * 4096)
        no_table.flush()
        with pytest.raises(QueryFailed, match=r"process failed: .*ArrowInvalid"):
            process.answer({Table.PORTFOLIOS: [no_table.fileno()]}, LIMITS)


def test_what_a_query_does_not_outlive_is_not_left() -> None:
    with QueryProcess() as process:
        pid = process.pid
    assert not psutil.pid_exists(pid)


def test_a_process_that_was_ended_while_it_was_ready_is_replaced() -> None:
    # What names no table asks nobody.
    desk = QueryDesk("postgresql://nobody@nowhere/nothing")
    question = Question("select 1", Format.CSV, LIMITS)
    before = set(psutil.Process().children())
    assert desk.answer(question).body == b"1\n1\n"
    (ready,) = set(psutil.Process().children()) - before
    ready.kill()
    assert wait_until(lambda: not is_alive(ready), _PATIENCE_S)
    assert desk.answer(question).body == b"1\n1\n"
    desk.close()
    assert set(psutil.Process().children()) == before
