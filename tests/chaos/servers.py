"""Postgres and Valkey of a chaos run, which are the harness's own: started, and started again whenever they die."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from persistence.embedded.errors import EmbeddedServerError
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.server import EmbeddedServer
from persistence.embedded.valkey import EmbeddedValkey
from tests.support.shards import over_tcp

_log = logging.getLogger(__name__)
_WATCH_S: Final = 0.25
_STOP_TIMEOUT_S: Final = 10.0


class ChaosServers:
    """Both servers, on their sockets for the harness and on TCP for the proxies."""

    def __init__(self, postgres_dir: Path, valkey_dir: Path, *, postgres_port: int, valkey_port: int) -> None:
        self.postgres_port, self.valkey_port = postgres_port, valkey_port
        self._postgres = EmbeddedPostgres(postgres_dir, port=postgres_port, progress=_log.info)
        self._valkey = EmbeddedValkey(valkey_dir, port=valkey_port)
        self.postgres_dsn = ""
        self._redis_url = ""
        self._turn = threading.Lock()

    def start(self) -> None:
        """Return once both answer."""
        for server in (self._postgres, self._valkey):
            server.start()
        # Both keep their addresses for good, so that they are known while a server is down.
        self.postgres_dsn = over_tcp(self._postgres.dsn, self.postgres_port)
        self._redis_url = self._valkey.url

    def redis_url(self, port: int) -> str:
        """Valkey's address for a client that goes by another port, such as a proxy's."""
        password = self._redis_url.split("@", 1)[0].rsplit(":", 1)[-1]
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def postmaster(self) -> int | None:
        """Postgres' first process, None while it is down."""
        return self._postgres.pid

    def valkey(self) -> int | None:
        """Valkey's process, None while it is down."""
        return self._valkey.pid

    def stop(self) -> None:
        """Stop both, by force if it takes long."""
        self._valkey.stop()
        self._postgres.stop(_STOP_TIMEOUT_S)

    @contextmanager
    def left_alone(self) -> Iterator[None]:
        """Nothing is revived meanwhile."""
        with self._turn:
            yield

    def revive(self) -> None:
        """Start what has died; what does not start, on a full disk for one, is tried again the next time."""
        with self._turn:
            for server in (self._postgres, self._valkey):
                if server.pid is None:
                    _start(server)


def _start(server: EmbeddedServer) -> None:
    try:
        server.start()
    except EmbeddedServerError as error:
        _log.info("%s does not start yet: %s", type(server).__name__, str(error).splitlines()[0])


@contextmanager
def chaos_servers(servers: ChaosServers) -> Iterator[ChaosServers]:
    """The servers started, and revived for as long as the block."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_S):
            servers.revive()

    watcher = threading.Thread(target=watch, name="server-watch")
    try:
        servers.start()
        watcher.start()
        yield servers
    finally:
        ended.set()
        if watcher.is_alive():
            watcher.join()
        servers.stop()
