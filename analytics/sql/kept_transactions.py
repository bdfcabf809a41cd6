"""The journal's transactions, kept between queries: each reads only what has come since the one before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Final

import polars as pl

from analytics import frames
from analytics.sql.opened import opened
from analytics.sql.shared import SharedTable
from portfolio.errors import QueryTooLarge
from portfolio.ids import ShardId
from portfolio.ports import Head

ROWS_MAX: Final = 5_000_000
"""Of some 180 bytes each: as much as a worker is to keep for ever."""
_PARTS_MAX: Final = 16

Heads = Mapping[ShardId, Head]


class KeptTransactions:
    """All transactions of the journal up to `heads`, which are none at first."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self.heads: Heads = {}
        self._rows_max = rows_max
        self._parts: list[SharedTable] = []

    @property
    def descriptors(self) -> list[int]:
        """Of shared tables that together are the whole one."""
        return [part.fd for part in self._parts]

    async def go_on(self, known: Heads, heads: Heads, chunks: AsyncGenerator[bytes, None]) -> None:
        """Take in the text of what came after `known`, which is `heads` so far, or nothing: then all is read anew.

        What is kept stays as it was if this fails. Raises QueryTooLarge if there are more transactions than may be kept.
        """
        before = self._parts if known == self.heads else []
        added: list[SharedTable] = []
        try:
            # Closed here, not when it is collected: in the middle of what it reads, its connection could not be given back.
            async with aclosing(chunks):
                async for text in chunks:
                    added.append(SharedTable(frames.transactions_of_text(text)))
                    self._check(sum(part.row_count for part in (*before, *added)))
            parts = _joined([*before, *added])
        except BaseException:
            _close(added)
            raise
        _close(part for part in (*self._parts, *added) if part not in parts)
        self._parts, self.heads = parts, heads

    def _check(self, row_count: int) -> None:
        if row_count > self._rows_max:
            raise QueryTooLarge(
                f"there are more than {self._rows_max:,} transactions, which no query can read", limit=self._rows_max
            )


def _joined(parts: list[SharedTable]) -> list[SharedTable]:
    """The same rows in at least one part, and in few enough to pass on."""
    if not parts:
        return [SharedTable(pl.DataFrame(schema=frames.TRANSACTIONS))]
    if len(parts) <= _PARTS_MAX:
        return parts
    return [SharedTable(pl.DataFrame(opened([part.fd for part in parts])))]


def _close(parts: Iterable[SharedTable]) -> None:
    for part in parts:
        part.close()
