"""Postgres and Redis as the settings have them: those given, else the embedded ones, kept alive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from cluster.settings import Settings
from persistence.embedded.errors import EmbeddedServerError
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.valkey import EmbeddedValkey

_log = logging.getLogger(__name__)


class Servers:
    """The two servers of one service. Those that are given are never started, stopped or looked after."""

    def __init__(self, settings: Settings, report: Callable[[str], None]) -> None:
        self._settings = settings
        self._postgres = None if settings.postgres_dsn else EmbeddedPostgres(settings.data_dir, progress=report)
        self._valkey = None if settings.redis_url else EmbeddedValkey(settings.data_dir)

    def __enter__(self) -> Self:
        try:
            for server in (self._postgres, self._valkey):
                if server is not None:
                    server.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def postgres_dsn(self) -> str:
        """Where Postgres is."""
        return self._settings.postgres_dsn or (self._postgres.dsn if self._postgres else "")

    @property
    def redis_url(self) -> str:
        """Where Redis is. It holds a password: not for logs."""
        return self._settings.redis_url or (self._valkey.url if self._valkey else "")

    def revive(self) -> None:
        """Start again what has died; Postgres recovers from its own log."""
        for server in (self._postgres, self._valkey):
            if server is not None and server.pid is None:
                _log.warning("%s is gone and is started again", type(server).__name__)
                try:
                    server.start()
                except EmbeddedServerError:
                    _log.exception("%s does not start", type(server).__name__)

    def stop(self) -> None:
        """Stop what was started here."""
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()
