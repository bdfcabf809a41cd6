"""What the owners of shards leave in Postgres while they live, for those who watch over them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from persistence.postgres import conninfo, unavailable_on_error
from persistence.statements import SQL
from portfolio.ids import ShardId


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A claim, a commit or a heartbeat changes it. `actor` is the one that is meant to own the shard, None at first."""

    shard_id: ShardId
    actor: str | None
    epoch: int
    head_seq: int
    renewed_at: datetime | None


def read_signs_of_life(dsn: str) -> list[SignOfLife]:
    """One for each shard there is. Raises ShardUnavailable."""
    with unavailable_on_error("looking at the shards"), psycopg.connect(conninfo(dsn), autocommit=True) as connection:
        return [SignOfLife(*row) for row in connection.execute(SQL["select_signs_of_life"])]
