"""Where the data of a running service are, and what of it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from actors.gateway import Gateway
from cluster import client
from cluster.handles import HandleCaller
from cluster.settings import Settings
from cluster.verifying.sources import Sources
from persistence.embedded.home import open_home
from persistence.embedded.postgres_session import DATABASE, address
from persistence.embedded.valkey_launch import SOCKET_NAME
from persistence.migrate import read_cluster
from persistence.mirror_reader import MirrorReader

_SOCKET_PORT: Final = 5432
"""Of the embedded Postgres; without TCP it is only part of the socket's name."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The database and the Redis of a service."""

    postgres_dsn: str
    redis_url: str


async def service_addresses(settings: Settings) -> Addresses:
    """Where the service that this process has joined keeps its data."""
    postgres = settings.data_dir / "postgres"
    embedded = address(DATABASE, host=postgres / "run", port=_SOCKET_PORT, password_file=postgres / "pgpass")
    return Addresses(settings.postgres_dsn or embedded, settings.redis_url or _embedded_redis(settings))


def _embedded_redis(settings: Settings) -> str:
    valkey = open_home(settings.data_dir, "valkey", account=None)
    return f"unix://:{valkey.secret('password')}@{valkey.path / 'run' / SOCKET_NAME}?db=0"


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
    await asyncio.to_thread(client.attach, settings)
    found = await service_addresses(settings)
    if settings.postgres_dsn is not None and not _is_same(settings.postgres_dsn, found.postgres_dsn):
        return _Place(settings.postgres_dsn, settings.redis_url, why_alone="the service here has another database")
    # The count is the database's, because a shard that is away must not keep the others from being asked.
    cluster = await asyncio.to_thread(read_cluster, found.postgres_dsn)
    return _Place(found.postgres_dsn, found.redis_url, Gateway(HandleCaller(), cluster.shard_count))


def _is_same(dsn: str, other: str) -> bool:
    return conninfo_to_dict(dsn) == conninfo_to_dict(other)
