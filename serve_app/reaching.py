"""How a process of this Ray cluster, a replica or an analytics worker, reaches the shards and the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import ray
from ray.exceptions import RayError

from actors.directory import Directory
from actors.gateway import Gateway
from actors.protocol import Endpoint
from persistence import postgres
from persistence.migrate import read_cluster
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app.finding import find_shard

_LOCATE_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Reached:
    """The shards, by links of this process' own, and the database."""

    gateway: Gateway
    connections: postgres.Pool


async def locate(shard_id: ShardId) -> Endpoint:
    """Where a shard's actor says that it listens. Raises ShardUnavailable."""
    try:
        async with asyncio.timeout(_LOCATE_TIMEOUT_S):
            handle = await find_shard(shard_id)
            endpoint: Endpoint = await handle.endpoint.remote()
            return endpoint
    except (RayError, TimeoutError) as error:
        raise ShardUnavailable(f"shard {shard_id} is not running", shard=shard_id) from error


@asynccontextmanager
async def reached(dsn: str, connections_max: int) -> AsyncIterator[Reached]:
    """Shards and database, for as long as the block lasts. Raises ShardUnavailable if Postgres does not answer."""
    cluster = await asyncio.to_thread(read_cluster, dsn)
    directory = Directory(locate, node_id=ray.get_runtime_context().get_node_id(), link_secret=cluster.link_secret)
    try:
        async with postgres.pool(dsn, connections_max) as connections:
            yield Reached(Gateway(directory, cluster.shard_map), connections)
    finally:
        directory.close()
