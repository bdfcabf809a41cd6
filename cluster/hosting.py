"""What a service stands on: its data directory, its runtime directory, Postgres and Redis. Nothing here knows Ray."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from cluster import leftovers
from cluster.console import Report
from cluster.runtime_dir import RuntimeDir
from cluster.servers import Servers
from cluster.settings import Settings
from persistence.data_dir_lock import DataDirLock
from persistence.kept_directory import KeptDirectory
from persistence.migrate import migrate, set_up_cluster

_log = logging.getLogger(__name__)
_WATCH_S: Final = 0.25
_WATCH_END_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """What `hosting` gives: the settings with the addresses of both servers, and the directory that has Postgres' data.

    None if a Postgres was given: nothing is lost with the directory then.
    """

    settings: Settings
    data_dir: KeptDirectory | None

    def check(self) -> None:
        """Raises DataDirGone if the data directory has gone away."""
        if self.data_dir is not None:
            self.data_dir.check()


@contextmanager
def hosting(settings: Settings, report: Report) -> Iterator[Hosted]:
    """Servers that are there and looked after, and a database of this version's schema.

    At the end all that was started is stopped, and what is left of a Ray of ours is ended.
    """
    # Root's Postgres runs under another user, who has to get through.
    settings.data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(DataDirLock(settings.data_dir))
        data_dir = stack.enter_context(KeptDirectory(settings.data_dir)) if settings.postgres_dsn is None else None
        stack.callback(RuntimeDir(settings.data_dir).remove)
        renew_runtime_dir(settings)
        report("starting Postgres and Valkey")
        servers = stack.enter_context(Servers(settings, report))
        stack.enter_context(_revived(servers, data_dir))
        # Before the servers stop: shards that are left would only complain.
        stack.callback(end_own_ray, settings)
        _set_up_database(servers.postgres_dsn, settings.shard_count, report)
        addresses = {"postgres_dsn": servers.postgres_dsn, "redis_url": servers.redis_url}
        yield Hosted(settings=settings.model_copy(update=addresses), data_dir=data_dir)


def renew_runtime_dir(settings: Settings) -> None:
    """End what an earlier life left, and begin with an empty runtime directory."""
    runtime = RuntimeDir(settings.data_dir)
    end_own_ray(settings)
    if settings.ray_address is None:
        runtime.remove()
    # On a Ray that was given, shards may have outlived the last run; their sockets are in there.
    runtime.create()


def end_own_ray(settings: Settings) -> None:
    """End what is left of a Ray that was started here; one that was given is its owner's business."""
    if settings.ray_address is None:
        leftovers.end_leftovers(RuntimeDir(settings.data_dir).path)
        settings.ray_address_file.unlink(missing_ok=True)


def _set_up_database(dsn: str, shard_count: int, report: Report) -> None:
    migrate(dsn)
    cluster = set_up_cluster(dsn, shard_count)
    if cluster.shard_count != shard_count:
        report(f"this database has {cluster.shard_count} shards; PORTFOLIO_SHARD_COUNT does not change that")


@contextmanager
def _revived(servers: Servers, data_dir: KeptDirectory | None) -> Iterator[None]:
    """Meanwhile a server that dies is started again, but not on an empty directory that took the place of its data."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_S):
            try:
                if data_dir is None or data_dir.is_in_place():
                    servers.revive()
            except Exception:  # noqa: BLE001 - see below
                # Whatever it is, the next look may find it gone; without this thread nobody would look again.
                _log.exception("a server could not be looked after")

    thread = threading.Thread(target=watch, name="server-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # It may be waiting for Postgres to recover, which stopping the servers ends.
        thread.join(_WATCH_END_S)
