"""Who owns each shard, and who is to own it next, as a process reads and says that owns none."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg_pool import AsyncConnectionPool

from persistence.postgres import Connection, unavailable_on_error
from persistence.statements import SQL
from portfolio.ids import ShardId


@dataclass(frozen=True, slots=True)
class OwnedShard:
    """A shard, its owner (None: it was let go of, or never had one), and the actor that is meant to own it."""

    shard_id: ShardId
    owner: str | None
    actor: str | None


class Succession:
    """The owners of a cluster's shards in Postgres."""

    def __init__(self, connections: AsyncConnectionPool[Connection]) -> None:
        self._connections = connections

    async def owners(self) -> list[OwnedShard]:
        """One for each shard there is. Raises ShardUnavailable."""
        with unavailable_on_error("looking for the shards' owners"):
            async with self._connections.connection() as connection:
                cursor = await connection.execute(SQL["select_owners"])
                return [OwnedShard(*row) for row in await cursor.fetchall()]

    async def designate(self, shard_id: ShardId, *, predecessor: str, actor: str | None, heir: str) -> bool:
        """Mean the actor `heir` to own a shard if `predecessor` owns it, and `actor` is meant to, still; gives whether it is so.

        After ShardUnavailable nobody knows; asking again does no harm.
        """
        with unavailable_on_error(f"succeeding the owner of shard {shard_id}"):
            async with self._connections.connection() as connection:
                parameters = {"shard_id": shard_id, "predecessor": predecessor, "actor": actor, "heir": heir}
                cursor = await connection.execute(SQL["designate_heir"], parameters)
                return cursor.rowcount == 1
