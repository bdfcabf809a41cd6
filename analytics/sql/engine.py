"""DuckDB as a query gets it: our tables, read only, without files, network, extensions or the names of this program."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa

from analytics.sql.limits import MIB, Limits
from analytics.sql.statement import Statement
from analytics.sql.tables import Table
from portfolio.errors import PortfolioError, QueryFailed, QueryTimeout, QueryTooLarge

_CONFIG: Final[Mapping[str, Any]] = {
    # No file, no address, no extension that is not built in, also where a function or a table's name asks for one.
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_persistent_secrets": False,
    # What does not fit into memory fails; it is not written elsewhere.
    "temp_directory": "",
    # An unknown table's name is never looked for among the variables of this program.
    "python_enable_replacements": False,
    # One query, one core, as every analytics task; and no thread that keeps memory of its own.
    "threads": 1,
}
_ENGINE_SHARE: Final = 0.75
"""Of the process' memory, for what the engine accounts for. Long texts and lists it does not: those meet the kernel's limit."""
_WATCH_S: Final = 0.05
_BATCH_ROWS: Final = 2_048
_MESSAGE_LENGTH_MAX: Final = 1_000
_OUT_OF_MEMORY: Final = "Out of Memory"


@dataclass(frozen=True, slots=True)
class Rows:
    """A query's result; `types` are the engine's names of the columns' types."""

    table: pa.Table
    types: tuple[str, ...]


def open_engine(limits: Limits) -> duckdb.DuckDBPyConnection:
    """An empty database in memory that can reach nothing. Its settings are locked once it has its tables."""
    memory = f"{int(limits.memory_bytes * _ENGINE_SHARE / MIB)}MiB"
    connection = duckdb.connect(":memory:", config={**_CONFIG, "memory_limit": memory})
    connection.execute("set timezone = 'UTC'")
    return connection


def give_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[Table, pa.Table]) -> None:
    """Let queries read these, and change no setting from now on."""
    for name, table in tables.items():
        connection.register(name.value, table)
    connection.execute("set lock_configuration = true")


def run(connection: duckdb.DuckDBPyConnection, statement: Statement, limits: Limits) -> Rows:
    """The rows of a statement. Raises QueryTimeout, QueryTooLarge, or QueryFailed with the engine's reason."""
    with _interrupted(connection, limits) as is_over:
        try:
            relation = connection.sql(statement.text)
            table = _collected(relation.to_arrow_reader(_BATCH_ROWS), limits)
            return Rows(table, tuple(map(str, relation.types)))
        except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
            raise _told(error, limits, is_over=is_over.is_set()) from error


@contextmanager
def _interrupted(connection: duckdb.DuckDBPyConnection, limits: Limits) -> Iterator[threading.Event]:
    """Interrupt what the connection does once its time is over, which the event then tells."""
    is_over, is_done = threading.Event(), threading.Event()
    computed, waited = time.process_time() + limits.computing_s, time.monotonic() + limits.waiting_s

    def watch() -> None:
        while not is_done.wait(_WATCH_S):
            if time.process_time() > computed or time.monotonic() > waited:
                is_over.set()
                connection.interrupt()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield is_over
    finally:
        is_done.set()
        watcher.join()


def _collected(reader: pa.RecordBatchReader, limits: Limits) -> pa.Table:
    """The rows as they come, up to the limits: the engine makes the next ones only when they are asked for."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        rows += batch.num_rows
        size += batch.nbytes
        if rows > limits.rows_max:
            raise QueryTooLarge(
                f"the result has more than {limits.rows_max:,} rows: aggregate, filter or LIMIT it",
                limit=limits.rows_max,
            )
        check_size(size, limits)
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def check_size(size: int, limits: Limits) -> None:
    """Raises QueryTooLarge if so many bytes are more than an answer may have."""
    if size > limits.answer_bytes_max:
        raise QueryTooLarge(
            f"the result is larger than {limits.answer_bytes_max:,} bytes: aggregate, filter or LIMIT it",
            limit=limits.answer_bytes_max,
        )


def _told(error: Exception, limits: Limits, *, is_over: bool) -> PortfolioError:
    message = str(error)
    if is_over:
        return timed_out(limits)
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException) or message.startswith(_OUT_OF_MEMORY):
        return out_of_memory(limits)
    return QueryFailed(message[:_MESSAGE_LENGTH_MAX])


def timed_out(limits: Limits) -> QueryTimeout:
    """What a query is told that was stopped for its time."""
    return QueryTimeout(
        f"the query was stopped: it may compute for {limits.computing_s:g} s, and wait for {limits.waiting_s:g} s in all",
        limit_s=str(limits.computing_s),
    )


def out_of_memory(limits: Limits) -> QueryTooLarge:
    """What a query is told that was stopped for its memory."""
    return QueryTooLarge(
        f"the query needs more than {limits.memory_bytes // MIB:,} MiB of memory", limit=limits.memory_bytes
    )
