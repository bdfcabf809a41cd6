"""Bring a database to this version's schema, and a new one to its number of shards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, LiteralString

import psycopg

from persistence.postgres import conninfo, unavailable_on_error
from persistence.statements import SQL
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from portfolio.sharding import ShardMap


@dataclass(frozen=True, slots=True)
class PlacedShard:
    """A shard, and the actor that is meant to own it; None if it never had one."""

    shard_id: ShardId
    modulus: int
    actor: str | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """What every process of a cluster has to agree on. `doubling_to` is the number of shards that a doubling leads to."""

    shard_count: int
    link_secret: bytes
    doubling_to: int | None
    shards: tuple[PlacedShard, ...]

    @property
    def shard_map(self) -> ShardMap:
        """Which shard has which portfolios."""
        return ShardMap({shard.shard_id: shard.modulus for shard in self.shards})


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    sql: LiteralString


def migrations() -> tuple[Migration, ...]:
    """Every step, in order. The number before the underscore in a file's name is its place."""
    found = (entry for entry in files("persistence").joinpath("migrations").iterdir() if entry.name.endswith(".sql"))
    return tuple(
        Migration(int(entry.name.partition("_")[0]), entry.name, entry.read_text("utf-8"))
        for entry in sorted(found, key=lambda entry: entry.name)
    )


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with unavailable_on_error("setting up the database"), psycopg.connect(conninfo(dsn)) as connection:
        yield connection


def migrate(dsn: str, through: int | None = None) -> list[str]:
    """Apply what is missing, up to the migration `through` (None: all), in one transaction; gives the names applied."""
    with _connected(dsn) as connection:
        return apply_missing(connection, through)


def apply_missing(connection: psycopg.Connection[tuple[Any, ...]], through: int | None = None) -> list[str]:
    """The same in the transaction of a connection."""
    connection.execute(SQL["lock_migrations"])
    connection.execute(SQL["create_migrations"])
    seen = {number for (number,) in connection.execute(SQL["select_migrations"])}
    missing = [step for step in migrations() if step.number not in seen and (through is None or step.number <= through)]
    for step in missing:
        connection.execute(step.sql)
        connection.execute(SQL["insert_migration"], {"number": step.number, "name": step.name})
    return [step.name for step in missing]


def set_up_cluster(dsn: str, shard_count: int) -> Cluster:
    """The cluster's settings, made now if the database is new; an older database keeps its own shard count."""
    with _connected(dsn) as connection:
        secret = secrets.token_bytes(32)
        connection.execute(SQL["create_cluster"], {"shard_count": shard_count, "link_secret": secret})
        connection.execute(SQL["create_shards"])
    return read_cluster(dsn)


def begin_doubling(dsn: str, count: int) -> Cluster:
    """The cluster, from now on being doubled to `count` if that is twice its shards; else as it is."""
    with _connected(dsn) as connection:
        connection.execute(SQL["begin_doubling"], {"count": count})
    return read_cluster(dsn)


def finish_doubling(dsn: str) -> Cluster:
    """The doubled cluster. Raises ShardUnavailable if a shard has not split yet."""
    with _connected(dsn) as connection:
        if connection.execute(SQL["finish_doubling"]).rowcount != 1:
            raise ShardUnavailable("not every shard has split")
    return read_cluster(dsn)


def read_cluster(dsn: str) -> Cluster:
    """The settings of a cluster that was set up before. Raises LookupError if it was not."""
    with _connected(dsn) as connection:
        row = connection.execute(SQL["select_cluster"]).fetchone()
        shards = [PlacedShard(*found) for found in connection.execute(SQL["select_shards"])]
    if row is None:
        raise LookupError("the database holds no cluster yet: `portfolio-state up` sets one up")
    shard_count, link_secret, doubling_to = row
    return Cluster(shard_count, link_secret, doubling_to, tuple(shards))
