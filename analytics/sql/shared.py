"""Tables that a query's process is handed: Arrow streams in sealed memory, each behind a file descriptor."""

from __future__ import annotations

import fcntl
import os
from typing import Final

import polars as pl
import pyarrow as pa

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class SharedTable:
    """Rows in memory that nobody can change any more. They go when it is closed and the last reader has ended."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.row_count = frame.height
        self.fd = os.memfd_create("query-table", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            self._write(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            self.close()
            raise

    def _write(self, table: pa.Table) -> None:
        with os.fdopen(self.fd, "wb", closefd=False) as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)
