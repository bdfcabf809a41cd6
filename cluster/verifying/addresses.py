"""Where the data of a running service are, and what of it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict

from actors.gateway import Gateway
from actors.settings import ShardConfig
from cluster import client
from cluster.handles import HandleCaller
from cluster.settings import Settings
from cluster.verifying.sources import Sources
from persistence.migrate import read_cluster
from persistence.mirror_reader import MirrorReader
from portfolio.ids import ShardId
from serve_app.finding import find_shard


@dataclass(frozen=True, slots=True)
class Addresses:
    """The database and the Redis of a service."""

    postgres_dsn: str
    redis_url: str


async def service_addresses() -> Addresses:
    """Where the service that this process has joined keeps its data."""
    owner = await find_shard(ShardId(0))
    config: ShardConfig = await owner.config.remote()
    return Addresses(config.postgres_dsn, config.redis_url)


@asynccontextmanager
async def sources_of(settings: Settings) -> AsyncIterator[Sources]:
    """What can be compared: all of a running service's; of a database alone, what is stored.

    Raises ConnectionError if no service runs and no database is given.
    """
    is_running = settings.ray_address is not None or settings.ray_address_file.exists()
    if settings.postgres_dsn is not None and not is_running:
        redis_url, owners, why = settings.redis_url, None, "not compared: no service runs here"
    else:
        await asyncio.to_thread(client.attach, settings)
        found = await service_addresses()
        if settings.postgres_dsn is None or _is_same(settings.postgres_dsn, found.postgres_dsn):
            settings = settings.model_copy(update={"postgres_dsn": found.postgres_dsn})
            cluster = await asyncio.to_thread(read_cluster, found.postgres_dsn)
            redis_url, owners, why = found.redis_url, Gateway(HandleCaller(), cluster.shard_map), ""
        else:
            redis_url, owners, why = settings.redis_url, None, "not compared: the service here has another database"
    mirror = MirrorReader(redis_url) if redis_url is not None else None
    left_out = {} if owners is not None else {"memory": why}
    if mirror is None:
        left_out["mirror"] = "not compared: PORTFOLIO_REDIS_URL is not set"
    try:
        yield Sources(postgres_dsn=settings.postgres_dsn or "", owners=owners, mirror=mirror, left_out=left_out)
    finally:
        if mirror is not None:
            await mirror.close()


def _is_same(dsn: str, other: str) -> bool:
    return conninfo_to_dict(dsn) == conninfo_to_dict(other)
