"""What a verification compares: the database, and if they can be asked, the shards' owners and the mirror."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cluster.verifying.documents import StateCaller
from cluster.verifying.memory import Memory
from cluster.verifying.mirror import Mirrored


class Owners(Memory, StateCaller, Protocol):
    """The owners of all shards, as Gateway reaches them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where to look. `left_out` says why what is None is not compared; `settle_s` is how long stragglers are waited for."""

    postgres_dsn: str
    owners: Owners | None = None
    mirror: Mirrored | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    settle_s: float = 3.0
