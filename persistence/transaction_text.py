"""All transactions of the cluster as text, or those that have come since somebody last read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from persistence.postgres import Connection, Pool, unavailable_on_error
from persistence.statements import SQL
from portfolio.ids import ShardId
from portfolio.ports import Head

_CHUNK_BYTES: Final = 8 * 1024 * 1024
_BEFORE_EVERY_ROW: Final = -1

Heads = Mapping[ShardId, Head]


class TransactionText:
    """One moment of the journal. `heads` are the last rows of the shards that have any, `known` what was read before."""

    def __init__(self, connection: Connection, known: Heads, heads: Heads) -> None:
        self._connection = connection
        self.known = known
        self.heads = heads

    def _after(self, shard_id: ShardId) -> int:
        return self.known[shard_id].seq if shard_id in self.known else _BEFORE_EVERY_ROW

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """CSV without a header, some megabytes of whole lines at a time. The columns are those of `copy_transactions`.

        Whoever stops early has to close it.
        """
        parameters = {
            "shard_ids": list(self.heads),
            "after": [self._after(shard_id) for shard_id in self.heads],
            "through": [head.seq for head in self.heads.values()],
        }
        lines = bytearray()
        with unavailable_on_error("reading transactions"):
            async with self._connection.cursor() as cursor, cursor.copy(SQL["copy_transactions"], parameters) as copy:
                async for line in copy:
                    lines += line
                    if len(lines) >= _CHUNK_BYTES:
                        yield bytes(lines)
                        lines.clear()
        if lines:
            yield bytes(lines)


@asynccontextmanager
async def transaction_text(connections: Pool, known: Heads) -> AsyncIterator[TransactionText]:
    """What there is to read now by somebody who has read up to `known`. Raises ShardUnavailable.

    Rows are never changed, and each carries the hash of all before it. So if the journal has the rows of `known`, it has
    everything that was read before. If not, because a backup was restored, nothing is known: `known` is then empty.
    """
    with unavailable_on_error("reading the journal"):
        async with connections.connection() as connection, connection.transaction():
            await connection.execute(SQL["read_one_snapshot"])
            await connection.execute(SQL["hold_snapshot"])
            still_known = known if await _has(connection, known) else {}
            rows = await (await connection.execute(SQL["select_last_rows"])).fetchall()
            yield TransactionText(
                connection, still_known, {ShardId(shard_id): Head(seq, row_hash) for shard_id, seq, row_hash in rows}
            )


async def _has(connection: Connection, known: Heads) -> bool:
    parameters = {
        "shard_ids": list(known),
        "seqs": [head.seq for head in known.values()],
        "hashes": [head.row_hash for head in known.values()],
    }
    found = await (await connection.execute(SQL["count_known_heads"], parameters)).fetchone()
    assert found is not None
    return int(found[0]) == len(known)
