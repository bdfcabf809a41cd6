"""What an operator may set, by environment variables that begin with PORTFOLIO_."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65_535)]


def _default_data_dir() -> Path:
    # Root's embedded Postgres runs under another user, who must be able to reach its data; a home may be closed to it.
    if os.geteuid() == 0:
        return Path("/var/lib/portfolio-state")
    return Path.home() / ".local" / "share" / "portfolio-state"


class Settings(BaseSettings):
    """A DSN or address that is given always wins over what would be started here."""

    model_config = SettingsConfigDict(env_prefix="PORTFOLIO_", extra="ignore")

    data_dir: Path = Field(default_factory=_default_data_dir)
    postgres_dsn: str | None = None
    redis_url: str | None = None
    ray_address: str | None = None
    http_host: str = "127.0.0.1"
    http_port: Port = 8000
    shard_count: Annotated[int, Field(ge=1, le=4_096)] = 2
    link_host: str | None = None
    """Where shards listen for links from other nodes. Unset: loopback for a Ray of our own, which has one node; on a Ray
    that is given, the address of the node that a shard runs on."""

    benchmark: str | None = None
    """The instrument that analytics compare portfolios with, unless a request names another."""

    standby: bool = True
    """Whether each node has a spare process that takes over when a shard on it dies, for the memory of its shards' books."""

    @property
    def base_url(self) -> str:
        """Where REST is."""
        return f"http://{f'[{self.http_host}]' if ':' in self.http_host else self.http_host}:{self.http_port}"

    def environment(self) -> dict[str, str]:
        """The variables that give another process these settings. It holds passwords."""
        return {f"PORTFOLIO_{name.upper()}": str(value) for name, value in self if value is not None}

    @property
    def ray_address_file(self) -> Path:
        """Where a running service leaves the address of the Ray that it started, for clients on this machine."""
        return self.data_dir / "ray_address"

    @property
    def compiled_dir(self) -> Path:
        """What the analytics workers of a Ray that the service started have compiled, for those of the next."""
        return self.data_dir / "compiled"
