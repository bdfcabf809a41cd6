"""A Parquet file that grows by some rows at a time and is there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import polars as pl
from pyarrow import parquet

from persistence.whole_file import whole_file

GROUP_ROWS: Final = 10_000
"""Rows in a row group: some megabytes while they are collected, and few enough groups for a reader to skip."""


class ParquetRows:
    """Collects rows until they make a row group. `notes` are about the file as a whole, and are stored with it."""

    def __init__(self, file: IO[bytes], schema: pl.Schema) -> None:
        self.notes: dict[str, str] = {}
        self._waiting = pl.DataFrame(schema=schema)
        self._writer = parquet.ParquetWriter(file, self._waiting.to_arrow().schema, compression="zstd")

    def add(self, rows: pl.DataFrame) -> None:
        """Rows that follow those added before."""
        self._waiting = self._waiting.vstack(rows)
        if len(self._waiting) >= GROUP_ROWS:
            self._write()

    def close(self) -> None:
        """Write what is left, and what a reader needs to find everything."""
        if len(self._waiting):
            self._write()
        self._writer.add_key_value_metadata(self.notes)
        self._writer.close()

    def _write(self) -> None:
        self._writer.write_table(self._waiting.to_arrow())
        self._waiting = self._waiting.clear()


@contextmanager
def whole_parquet(path: Path, schema: pl.Schema, *, overwrite: bool) -> Iterator[ParquetRows]:
    """Takes rows for a file that has the name `path` once the block has ended well. Raises FileNotWritten."""
    with whole_file(path, overwrite=overwrite) as file:
        rows = ParquetRows(file, schema)
        try:
            yield rows
        finally:
            # Of a block that failed too: a writer that is forgotten would write to the closed file.
            rows.close()
