"""Writes a result as it is sent."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.sql.engine import Rows
from analytics.sql.format import Format
from portfolio.errors import QueryFailed


def encode(rows: Rows, wanted: Format) -> bytes:
    """The result in a format. Raises QueryFailed if the format has no equal for a column's type."""
    return _ENCODERS[wanted](rows)


def _json(rows: Rows) -> bytes:
    """`{"columns": [{"name", "type"}], "rows": [[...]]}`: columns may share a name, which members of an object cannot."""
    columns = [{"name": name, "type": kind} for name, kind in zip(rows.table.column_names, rows.types, strict=True)]
    return msgspec.json.encode({"columns": columns, "rows": _cells(rows.table)}, enc_hook=str)


def _csv(rows: Rows) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.table.column_names)
    writer.writerows([[_plain(value) for value in row] for row in _cells(rows.table)])
    return text.getvalue().encode()


def _parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(rows.table, sink, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise QueryFailed(f"Parquet cannot hold the result, cast it: {error}") from error
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no annotations


def _arrow(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.table.schema) as writer:
        writer.write_table(rows.table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no annotations


_ENCODERS: Final[Mapping[Format, Callable[[Rows], bytes]]] = {
    Format.JSON: _json,
    Format.CSV: _csv,
    Format.PARQUET: _parquet,
    Format.ARROW: _arrow,
}


def _cells(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows, each cell as JSON has it."""
    columns = [_column(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    return list(zip(*columns, strict=True)) if columns else []


def _column(name: str, column: pa.ChunkedArray) -> list[Any]:
    try:
        return [_cell(value) for value in column.to_pylist()]
    except (OverflowError, ValueError) as error:
        # A calendar ends with the year 9999 here, the engine's does not and knows infinity.
        raise QueryFailed(f"JSON and CSV cannot hold column {name}, cast it to VARCHAR: {error}") from error


def _cell(value: Any) -> Any:
    match value:
        case Decimal():
            # Never with an exponent, and with all its decimals.
            return msgspec.Raw(f"{value:f}".encode())
        case datetime():
            return _moment(value)
        case list() | tuple():
            return [_cell(item) for item in value]
        case dict():
            return {name: _cell(item) for name, item in value.items()}
        case _:
            return value


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """A cell of CSV: what JSON says without quotes, an empty field for null."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text[1:-1] if text.startswith('"') else text
