"""Tables that are made anew only if what they are made of has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, closing
from typing import Final

import polars as pl

from analytics.sql.shared import SharedTable
from analytics.sql.tables import Table

_NEVER: Final = object()


class KeptTables:
    """Some tables, and the one source that they were made of."""

    def __init__(self) -> None:
        self._source: object = _NEVER
        self._tables: dict[Table, SharedTable] = {}

    async def made_of(
        self, source: object, make: Callable[[], Awaitable[Mapping[Table, pl.DataFrame]]]
    ) -> dict[Table, list[int]]:
        """Descriptors of what `make` makes of `source`. Those given before are closed, unless the source is the same."""
        if self._source != source:
            frames = await make()
            with ExitStack() as unfinished:
                tables = {name: unfinished.enter_context(closing(SharedTable(frame))) for name, frame in frames.items()}
                unfinished.pop_all()
            for table in self._tables.values():
                table.close()
            self._source, self._tables = source, tables
        return {name: [table.fd] for name, table in self._tables.items()}
