"""Finds the processes of a service by what they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final

import psutil
import psycopg

from tests.chaos.stand import Stand

PATIENCE_S: Final = 20.0
SERVING: Final = "serve-child"
"""The subcommand of the process beneath `up` that serves."""
_POLL_S: Final = 0.1
_BACKENDS: Final = """
select pid from pg_stat_activity
where backend_type = 'client backend' and application_name = 'portfolio-state' order by pid
"""


class MissedError(Exception):
    """There was nothing to strike: what should be there has not come back from an earlier fault yet."""


class Role(Enum):
    """How Ray names the processes of a service; the value is what the name begins with."""

    SHARD = "ray::ShardActor"
    STANDBY = "ray::StandbyActor"
    REPLICA = "ray::ServeReplica"
    HAPROXY = "haproxy"
    RAYLET = "raylet"
    GCS = "gcs_server"


def workers(stand: Stand, role: Role) -> list[psutil.Process]:
    """The service's processes of that role."""
    mark = f"PORTFOLIO_DATA_DIR={stand.service.settings.data_dir}"
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name().startswith(role.value) and mark in _environment(process):
                found.append(process)
    return found


def _environment(process: psutil.Process) -> Sequence[str]:
    return [f"{name}={value}" for name, value in process.environ().items()]


def drivers(stand: Stand) -> list[psutil.Process]:
    """The process beneath `up` that serves."""
    with suppress(psutil.Error):
        children = psutil.Process(stand.service.up_pid()).children()
        return [child for child in children if SERVING in child.cmdline()]
    return []


def backends(stand: Stand) -> list[psutil.Process]:
    """The processes of Postgres that serve connections of the service."""
    with psycopg.connect(stand.servers.postgres_dsn, autocommit=True, connect_timeout=2) as connection:
        rows = connection.execute(_BACKENDS).fetchall()
    return _processes([pid for (pid,) in rows])


def postmaster(stand: Stand) -> list[psutil.Process]:
    """Postgres' first process."""
    return _processes([stand.servers.postmaster()])


def valkey(stand: Stand) -> list[psutil.Process]:
    """Valkey's process."""
    return _processes([stand.servers.valkey()])


def _processes(pids: Sequence[int | None]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if pid is not None:
                found.append(psutil.Process(pid))
    return found


def one_of(find: Callable[[], Sequence[psutil.Process]], choice: float) -> psutil.Process:
    """One that `find` gives, waited for; raises MissedError if there is none for too long."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(psycopg.Error):
            if found := find():
                return found[int(choice * len(found))]
        if time.monotonic() > deadline:
            raise MissedError("no such process")
        time.sleep(_POLL_S)
