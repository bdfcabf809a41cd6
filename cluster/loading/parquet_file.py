"""Parquet files: which column types are exact, and their cells as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from cluster.loading.columns import Columns
from cluster.loading.raw_row import RawRow
from portfolio.errors import InvalidRequest

FLOATS_NOTE: Final = "(the column holds binary floats, each read as the shortest decimal that gives it)"
"""Belongs to whatever is wrong with a number of such a column."""
_RFC_3339: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
_TEXTS: Final = (pl.String, pl.Categorical, pl.Enum, pl.Null)


@dataclass(slots=True)
class ParquetLayout:
    """A Parquet file. `float_columns` are numbers whose cells are read as the shortest text that gives the same float.

    A float that was written from 0.1 reads as 0.1; one that was computed as 0.1 + 0.2 reads as 0.30000000000000004, has
    more decimals than a quantity or a price may have, and is refused. Implements source.Layout.
    """

    path: Path
    columns: Sequence[str]
    row_count: int
    float_columns: frozenset[str]
    texts: Sequence[pl.Expr]

    def scan(self) -> pl.LazyFrame:
        """All rows as text: Polars writes integers and decimals exactly, floats as short as can be."""
        return pl.scan_parquet(self.path, glob=False).select(self.texts)

    def raw_row(self, index: int, texts: Sequence[str | None]) -> RawRow | None:
        """The row `index`, from 0; its line is its number, from 1. None if every cell is null."""
        found = zip(self.columns, texts, strict=True)
        cells = {name: trimmed for name, text in found if text and (trimmed := text.strip())}
        return RawRow(index + 1, cells) if cells else None


def inspect(path: Path, expected: Columns) -> ParquetLayout:
    """What there is to know about the Parquet file at `path`, whose columns have `expected` types. Raises InvalidRequest or PolarsError."""
    frame = pl.scan_parquet(path, glob=False)
    schema = frame.collect_schema()
    wrong = [
        f"column {name!r} has type {kind}, expected {_expected(name, expected)}"
        for name, kind in schema.items()
        if not _is_exact(name, kind, expected)
    ]
    if wrong:
        raise InvalidRequest(f"{path}: {'; '.join(wrong[:10])}")
    return ParquetLayout(
        path,
        schema.names(),
        int(frame.select(pl.len()).collect().item()),
        frozenset(name for name, kind in schema.items() if kind.is_float()),
        [_text(name, kind) for name, kind in schema.items()],
    )


def _is_exact(name: str, kind: pl.DataType, expected: Columns) -> bool:
    if isinstance(kind, _TEXTS):
        return True
    if name in expected.moments:
        # Without a zone the moment is a guess.
        return isinstance(kind, pl.Datetime) and kind.time_zone is not None
    if name in expected.days:
        return isinstance(kind, pl.Date)
    if name in expected.numbers:
        return kind.is_numeric()
    return kind.is_integer() or isinstance(kind, pl.Boolean)


def _expected(name: str, expected: Columns) -> str:
    if name in expected.moments:
        return "a Datetime with a time zone, or text"
    if name in expected.days:
        return "a Date, or text"
    return "Decimal, an integer, Float64 or text" if name in expected.numbers else "text"


def _text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if not isinstance(kind, pl.Datetime):
        return column.cast(pl.String)
    written = column.dt.convert_time_zone("UTC").dt.cast_time_unit("us").dt.to_string(_RFC_3339)
    if kind.time_unit != "ns":
        return written
    # What is finer than a microsecond keeps its nine digits, and is refused for them.
    return pl.when(column.dt.nanosecond() % 1_000 == 0).then(written).otherwise(column.cast(pl.String)).alias(name)
