"""A file of transactions or prices: whether it can be read, what identifies its content, and its rows, a block at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import polars as pl
from polars.exceptions import PolarsError

from cluster.loading import csv_file, parquet_file
from cluster.loading.columns import Columns
from cluster.loading.raw_row import RawRow
from portfolio.errors import InvalidRequest

FILE_BYTES_MAX: Final = 2 * 1024**3
ROWS_MAX: Final = 10_000_000
COLUMNS_MAX: Final = 100
BLOCK_ROWS: Final = 20_000
"""Rows in memory at once. Updates end where blocks end, and keys count updates: with another number, use another prefix."""
REPEATED_IDS_MAX: Final = 100_000
_UUID_DIGITS: Final = 32


class Layout(Protocol):
    """What a format knows about its file: the columns, the rows, the texts of all cells, and each row's line."""

    columns: Sequence[str]
    row_count: int
    float_columns: frozenset[str]

    def scan(self) -> pl.LazyFrame:
        """All rows, every cell a text or null."""

    def raw_row(self, index: int, texts: Sequence[str | None]) -> RawRow | None:
        """The row `index`, from 0; None if it is blank."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that has the right columns. `digest` stands for its content."""

    path: Path
    digest: str
    layout: Layout
    stamp: tuple[int, int]

    def blocks(self) -> Iterator[list[RawRow]]:
        """The rows, in order, 20,000 at a time. Raises InvalidRequest if the file is damaged or was changed."""
        rows = self._rows()
        while block := list(islice(rows, BLOCK_ROWS)):
            yield [row for row in block if row is not None]

    def repeated_transaction_ids(self) -> frozenset[UUID]:
        """The transaction ids that stand in more than one row. Raises InvalidRequest."""
        if "transaction_id" not in self.layout.columns:
            return frozenset()
        # Polars finds them in far less memory than a set of all ids would take. UUIDs are written in several ways, so only
        # their hexadecimal digits are compared; what is no UUID is told row by row.
        digits = pl.col("transaction_id").str.to_lowercase().str.replace_all("[^0-9a-f]", "")
        repeated = (
            self.layout.scan()
            .select(digits.alias("digits"))
            .filter(pl.col("digits").str.len_bytes() == _UUID_DIGITS)
            .group_by("digits")
            .len()
            .filter(pl.col("len") > 1)
            .head(REPEATED_IDS_MAX + 1)
        )
        try:
            found = repeated.collect(engine="streaming")["digits"].to_list()
        except (PolarsError, OSError) as error:
            raise _unreadable(self.path, error) from error
        if len(found) > REPEATED_IDS_MAX:
            raise InvalidRequest(f"{self.path} has more than {REPEATED_IDS_MAX:,} transaction ids in two rows or more")
        return frozenset(map(UUID, found))

    def _rows(self) -> Iterator[RawRow | None]:
        count = 0
        try:
            frames = self.layout.scan().collect_batches(chunk_size=BLOCK_ROWS)
            for texts in chain.from_iterable(frame.iter_rows() for frame in frames):
                if count % BLOCK_ROWS == 0:
                    self._check_unchanged()
                yield self.layout.raw_row(count, texts)
                count += 1
        except (PolarsError, OSError) as error:
            raise _unreadable(self.path, error) from error
        self._check_unchanged()
        if count != self.layout.row_count:
            raise InvalidRequest(f"{self.path}: {count:,} rows could be read, expected {self.layout.row_count:,}")

    def _check_unchanged(self) -> None:
        if _stamp(self.path) != self.stamp:
            raise InvalidRequest(f"{self.path} was changed while it was read")


def open_source(path: Path, columns: Columns) -> Source:
    """The file at `path`, which has `columns`. Raises InvalidRequest, naming all unknown and missing columns, or why it cannot be read."""
    try:
        stamp = _stamp(path)
        if stamp[0] > FILE_BYTES_MAX:
            raise InvalidRequest(f"{path} has {stamp[0]:,} bytes, expected at most {FILE_BYTES_MAX:,}")
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        layout = _layout(path, columns)
    except (PolarsError, OSError, UnicodeError) as error:
        raise _unreadable(path, error) from error
    columns.check(path, layout.columns)
    if layout.row_count > ROWS_MAX:
        raise InvalidRequest(f"{path} has {layout.row_count:,} rows, expected at most {ROWS_MAX:,}")
    return Source(path, digest, layout, stamp)


def _layout(path: Path, columns: Columns) -> Layout:
    match path.suffix.lower():
        case ".csv":
            return csv_file.inspect(path, columns_max=COLUMNS_MAX)
        case ".parquet" | ".pq":
            return parquet_file.inspect(path, columns)
        case other:
            raise InvalidRequest(f"{path} ends in {other!r}, expected .csv or .parquet")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _unreadable(path: Path, error: Exception) -> InvalidRequest:
    return InvalidRequest(f"{path} cannot be read: {next(iter(str(error).splitlines()), type(error).__name__)}")
