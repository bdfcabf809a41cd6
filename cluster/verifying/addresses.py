"""Where the data of a running service are, and what of it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict

from actors.gateway import Gateway
from cluster.attaching import attach
from cluster.handles import HandleCaller
from cluster.settings import Settings
from cluster.verifying.sources import Sources
from persistence.migrate import read_cluster
from persistence.mirror_reader import MirrorReader
from serve_app.finding import any_config


@asynccontextmanager
async def sources_of(settings: Settings) -> AsyncIterator[Sources]:
    """What can be compared: all of a running service's; of a database alone, what is stored.

    Raises ConnectionError if no service runs and no database is given.
    """
    place = await _place(settings)
    mirror = MirrorReader(place.redis_url) if place.redis_url is not None else None
    left_out = {} if place.owners is not None else {"memory": f"not compared: {place.why_alone}"}
    if mirror is None:
        left_out["mirror"] = "not compared: PORTFOLIO_REDIS_URL is not set"
    try:
        yield Sources(postgres_dsn=place.postgres_dsn, owners=place.owners, mirror=mirror, left_out=left_out)
    finally:
        if mirror is not None:
            await mirror.close()


@dataclass(frozen=True, slots=True)
class _Place:
    postgres_dsn: str
    redis_url: str | None
    owners: Gateway | None = None
    why_alone: str = ""


async def _place(settings: Settings) -> _Place:
    """The database that is given, or else that of the service here; with its owners if it is the service's."""
    is_running = settings.ray_address is not None or settings.ray_address_file.exists()
    if settings.postgres_dsn is not None and not is_running:
        return _Place(settings.postgres_dsn, settings.redis_url, why_alone="no service runs here")
    await asyncio.to_thread(attach, settings)
    found = await any_config()
    if settings.postgres_dsn is not None and not _is_same(settings.postgres_dsn, found.postgres_dsn):
        return _Place(settings.postgres_dsn, settings.redis_url, why_alone="the service here has another database")
    # The count is the database's, because a shard that is away must not keep the others from being asked.
    cluster = await asyncio.to_thread(read_cluster, found.postgres_dsn)
    return _Place(found.postgres_dsn, found.redis_url, Gateway(HandleCaller(), cluster.shard_map))


def _is_same(dsn: str, other: str) -> bool:
    return conninfo_to_dict(dsn) == conninfo_to_dict(other)
