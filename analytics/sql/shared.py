"""Tables that a query's process reads where they lie: Arrow streams in sealed memory, passed on as file descriptors."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl
import pyarrow as pa

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class SharedTable:
    """Rows in memory that nobody can change any more. They go when it is closed and the last reader has ended."""

    def __init__(self, frames: Iterable[pl.DataFrame]) -> None:
        """`frames`, of one schema and at least one, are taken one by one, so that they need not be there together."""
        self.fd = os.memfd_create("query-table", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.row_count = 0
        try:
            self._write(frames)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            self.close()
            raise

    def _write(self, frames: Iterable[pl.DataFrame]) -> None:
        writer: pa.RecordBatchStreamWriter | None = None
        with os.fdopen(self.fd, "wb", closefd=False) as file:
            for frame in frames:
                table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
                if writer is None:
                    writer = pa.ipc.new_stream(file, table.schema)
                writer.write_table(table)
                self.row_count += frame.height
            assert writer is not None, "a table needs at least one frame, which says what its columns are"
            writer.close()

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)


def opened(descriptors: Sequence[int]) -> pa.Table:
    """The rows of shared tables of one schema, one after the other, read in place."""
    return pa.concat_tables([_opened(fd) for fd in descriptors])


def _opened(fd: int) -> pa.Table:
    with pa.memory_map(f"/proc/self/fd/{fd}") as memory, pa.ipc.open_stream(memory) as stream:
        return stream.read_all()
