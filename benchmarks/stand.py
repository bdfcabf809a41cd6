"""What is measured: a service of its own on a scratch data directory and free ports."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors.gateway import Gateway
from actors.shard_status import ShardStatus
from benchmarks import noops
from cluster.ray_profile import free_ports
from cluster.service import Service
from cluster.settings import Settings
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.valkey import EmbeddedValkey
from portfolio.errors import ShardUnavailable

_SETTLE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Stand:
    """The running service: its gateway by handles, its REST front, the floors beside it, and the servers it stands on."""

    gateway: Gateway
    base_url: str
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey

    @property
    def noop_url(self) -> str:
        """The route that does nothing."""
        return f"{self.base_url}/{noops.ROUTED}/"

    @property
    def bare_noop_url(self) -> str:
        """The same without FastAPI."""
        return f"{self.base_url}/{noops.BARE}/"

    def settle(self) -> None:
        """Return once the shards have nothing left to do of what was measured last; the next must not pay for it.

        Raises TimeoutError.
        """
        deadline = time.monotonic() + _SETTLE_S
        while not all(map(_is_idle, asyncio.run(self.gateway.statuses()).values())):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the shards are still busy after {_SETTLE_S:g} s")
            time.sleep(0.1)


def _is_idle(status: ShardStatus | ShardUnavailable) -> bool:
    return (
        isinstance(status, ShardStatus)
        and not status.queue_depth
        and not status.events_pending
        and status.checkpoint_seq == status.head_seq
    )


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is removed at the end."""
    made = Path(tempfile.mkdtemp(prefix="portfolio-bench-", dir="/tmp"))
    # Root's Postgres runs under another user, who has to get through.
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def stand_on(data_dir: Path, *, standby: bool = True, benchmark: str | None = None) -> Iterator[Stand]:
    """The service on what is in `data_dir`. The servers are started as the service does, and only handed to it."""
    with EmbeddedPostgres(data_dir, progress=_tell) as postgres, EmbeddedValkey(data_dir) as valkey:
        settings = Settings(
            data_dir=data_dir,
            http_port=free_ports(1)[0],
            postgres_dsn=postgres.dsn,
            redis_url=valkey.url,
            standby=standby,
            benchmark=benchmark,
        )
        service = Service(settings, _tell)
        with service.running() as gateway, service.serving():
            yield Stand(gateway, settings.base_url, postgres, valkey)


def _tell(step: str) -> None:
    print(f"  {step}", flush=True)
