"""What a run stood on: figures without it say nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import redis

from benchmarks.stand import Stand


def described() -> dict[str, Any]:
    """The machine, the code and the moment."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gb": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 1e6, 1),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "ray": version("ray"),
    }


def servers(stand: Stand) -> dict[str, str]:
    """The versions of the servers."""
    with psycopg.connect(stand.postgres.dsn) as connection, closing(redis.Redis.from_url(stand.valkey.url)) as client:
        found = connection.execute("show server_version").fetchone()
        assert found is not None
        return {"postgres": found[0], "valkey": str(client.info("server").get("valkey_version", "?"))}


def _commit() -> str:
    """The commit of the code that runs, with a + where files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],  # noqa: S607 - whichever git there is
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "?"


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        found, _, value = line.partition(":")
        if found.strip() == name:
            return value.strip()
    return "?"
