"""What is read of a shard's journal, whoever owns it: its rows, checked one after the other, and the keys that were used."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from persistence import examined_rows
from persistence.postgres import Connection, severed_after, unavailable_on_error
from persistence.statements import SQL
from portfolio.errors import Corrupt
from portfolio.ids import IdempotencyKey, PortfolioId, ShardId
from portfolio.ports import NO_ROWS, DamagedRow, Head, RequestKey, StoredRow

SEQ_MAX: Final = 2**63 - 1
_READ_TIMEOUT_S: Final = 20.0
"""Longer than statement_timeout, so that a slow server answers for itself."""
_FETCH_ROWS: Final = 2_000


class JournalReader:
    """Reads of one shard's journal, over a pool that others may share. Its methods raise ShardUnavailable."""

    def __init__(self, shard_id: ShardId, readers: AsyncConnectionPool[Connection]) -> None:
        self._shard_id = shard_id
        self._readers = readers

    async def rows(self, branch: Head, after: Head, until_seq: int) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        """The rows after `after` up to `until_seq`, each checked against the one before.

        `branch` is where the shard branched off: rows before are in the journals of those that it came of. Raises Corrupt.
        """
        expected = after
        parts = await self._parts(branch, after.seq, until_seq)
        with unavailable_on_error(f"replaying the journal of shard {self._shard_id}"):
            async with self._readers.connection() as connection, connection.transaction():
                for part in parts:
                    async with connection.cursor(name="tail") as cursor:
                        await cursor.execute(SQL["select_journal_tail"], {**part, "after_seq": expected.seq})
                        while columns := await cursor.fetchmany(_FETCH_ROWS):
                            for row in columns:
                                found = self._examined(row, expected)
                                # The next row was chained to the hash that is stored here, whatever this row has become.
                                expected = Head(found.seq, found.row_hash)
                                yield found

    async def _parts(self, branch: Head, after_seq: int, until_seq: int) -> list[dict[str, object]]:
        """Whose rows lie between: this shard's own, and if the checkpoint is lost, those of the shards that it came of."""
        own: dict[str, object] = {"shard_id": self._shard_id, "until_seq": until_seq}
        if after_seq >= branch.seq:
            return [own]
        *parents, _ = await self._line()
        return [*({"shard_id": shard_id, "until_seq": until} for shard_id, _, until in parents), own]

    async def _line(self) -> list[tuple[Any, ...]]:
        return await self._fetch_all("select_line", {"shard_id": self._shard_id})

    def _examined(self, columns: Sequence[Any], expected: Head) -> StoredRow | DamagedRow:
        row = examined_rows.examined(columns, expected.row_hash)
        if row.seq != expected.seq + 1:
            raise Corrupt(f"shard {self._shard_id}: journal row {row.seq} follows row {expected.seq}")
        return row

    async def row_hash(self, seq: int, branch: Head) -> bytes:
        """The hash of a row of the shard, or of one that it has from before it branched off. Raises Corrupt if it is not there."""
        if seq == branch.seq:
            # The row itself is in the journal of the shard that this one branched off, if there is one at all.
            return branch.row_hash
        if not seq:
            return NO_ROWS.row_hash
        holder = self._shard_id
        if seq < branch.seq:
            (holder,) = [found for found, branch_seq, until_seq in await self._line() if branch_seq < seq <= until_seq]
        row = await self._fetch_one("select_row_hash", {"shard_id": holder, "seq": seq})
        if row is None:
            raise Corrupt(f"shard {self._shard_id}: journal row {seq}, where the checkpoint ends, is missing")
        found: bytes = row[0]
        return found

    def life(self, portfolio_id: PortfolioId) -> AsyncGenerator[StoredRow | DamagedRow, None]:
        """All rows of one portfolio; see ports.Journal."""
        return examined_rows.life(self._readers, portfolio_id)

    async def moduli(self) -> Mapping[ShardId, int]:
        """The modulus of every shard."""
        return {ShardId(shard_id): modulus for shard_id, modulus, _ in await self._fetch_all("select_shards", {})}

    async def recent_keys(self, after_seq: int) -> Mapping[RequestKey, bytes]:
        """Request hashes of the keys used after `after_seq`."""
        return _by_key(await self._fetch_all("select_recent_keys", self._after(after_seq)))

    async def find_keys(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, bytes]:
        """Request hashes of those keys that were used."""
        asked = list(keys)
        parameters = {"portfolio_ids": [portfolio_id for portfolio_id, _ in asked], "keys": [key for _, key in asked]}
        return _by_key(await self._fetch_all("find_keys", parameters))

    async def find_transaction_ids(self, ids: Iterable[UUID]) -> frozenset[UUID]:
        """Those ids that callers gave to transactions already booked."""
        return frozenset(found for (found,) in await self._fetch_all("find_transaction_ids", {"ids": list(ids)}))

    async def unannounced(self, after_seq: int) -> Sequence[PortfolioId]:
        """Portfolios with rows after `after_seq`."""
        return [PortfolioId(found) for (found,) in await self._fetch_all("select_unannounced", self._after(after_seq))]

    def _after(self, after_seq: int) -> dict[str, object]:
        return {"shard_id": self._shard_id, "after_seq": after_seq}

    async def _fetch_one(self, statement: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
        """The first row of a named statement's result, if there is one."""
        rows = await self._fetch_all(statement, parameters)
        return rows[0] if rows else None

    async def _fetch_all(self, statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The result of a named statement."""
        with unavailable_on_error(f"reading {statement} of shard {self._shard_id}"):
            async with self._readers.connection() as connection:
                with severed_after(connection, _READ_TIMEOUT_S):
                    cursor = await connection.execute(SQL[statement], parameters)
                return await cursor.fetchall()


def _by_key(rows: Iterable[tuple[str, str, bytes]]) -> Mapping[RequestKey, bytes]:
    return {(PortfolioId(portfolio_id), IdempotencyKey(key)): found for portfolio_id, key, found in rows}
