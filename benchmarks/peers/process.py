"""The comparison service as one process of its own, on a database of its own in the Postgres that is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import uvicorn
from psycopg.conninfo import make_conninfo

from actors.garbage import look_rarely
from benchmarks.peers.app import create_app
from cluster.ray_profile import free_ports

DATABASE: Final = "peer"
_SCHEMA: Final = Path(__file__).with_name("schema.sql")
_START_S: Final = 30.0


@contextmanager
def running_peer(postgres_dsn: str, redis_url: str) -> Iterator[str]:
    """The URL of a comparison service whose database is new. Raises TimeoutError if it does not start."""
    _make_database(postgres_dsn)
    port = free_ports(1)[0]
    told = {"PEER_POSTGRES_DSN": make_conninfo(postgres_dsn, dbname=DATABASE), "PEER_REDIS_URL": redis_url}
    child = subprocess.Popen([sys.executable, "-m", __name__, str(port)], env={**os.environ, **told})
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/openapi.json")
        yield url
    finally:
        child.terminate()
        child.wait()


def _make_database(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"drop database if exists {DATABASE} with (force)")
        connection.execute(f"create database {DATABASE}")
    with psycopg.connect(make_conninfo(dsn, dbname=DATABASE)) as connection:
        connection.execute(_SCHEMA.read_bytes())


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=_START_S).close()  # noqa: S310 - our own address
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} does not answer: {error}") from error
        time.sleep(0.05)


def main() -> None:
    app = create_app(os.environ["PEER_POSTGRES_DSN"], os.environ["PEER_REDIS_URL"])
    # As a replica of the service does for itself.
    look_rarely()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
