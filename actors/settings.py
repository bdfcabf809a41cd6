"""What a shard is told when it starts: where things are, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from portfolio.ids import ShardId


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a shard holds and does. Rows are journal rows, one a transaction."""

    queue_commands_max: int = 20_000
    queue_rows_max: int = 200_000
    batch_rows_max: int = 5_000
    command_wait_s: float = 8.0
    """A command that waited longer in the queue is refused unbooked; its caller has given up by then."""
    loop_slice_ms: float = 2.0
    recent_keys_max: int = 100_000
    pending_events_max: int = 20_000
    checkpoint_interval_s: float = 1.0
    checkpoint_rows: int = 10_000
    checkpoint_duty: float = 0.1
    """Share of the time that checkpoints may take; under load they come less often instead of taking more."""
    checkpoint_rest_max_s: float = 10.0
    checkpoint_timeout_s: float = 30.0
    revalued_checkpoint_interval_s: float = 60.0
    revaluation_interval_s: float = 0.05
    mark_refresh_interval_s: float = 5.0
    standstill_timeout_s: float = 5.0
    """How long a move or a split may hold up writes before it is given up."""
    stand_by_s: float = 120.0
    """A successor that nobody has handed the shard to by then was forgotten by whoever made it."""
    standby_look_s: float = 0.25
    """How often a standby looks which shards are its node's. The end of an owner's process it is told at once."""
    standby_share: float = 0.05
    """Share of a core that following checkpoints may take, of the standby's and of Postgres' together."""
    standby_rest_max_s: float = 30.0
    """A round that takes more than 0.75 s is not rested from in full: what a takeover would have to read grows meanwhile."""
    lease_s: float = 3.0
    """How long an owner answers after it last proved to own its shard; a claimant waits as long."""
    heartbeat_interval_s: float = 0.75
    """How often an owner without commits proves it; three may fail before the lease ends."""
    mirror_interval_s: float = 0.05
    mirror_batch_max: int = 100
    mirror_look_interval_s: float = 1.0
    events_interval_s: float = 0.01
    """Between two announcements; the first after a quiet time is made at once."""
    mirror_share: float = 0.15
    events_share: float = 0.35
    """Shares of the loop that these may take while there is more to do, so that writes and reads come first."""
    pressed_share: float = 0.3
    """What is left of those shares while more writes wait than `pressed_commands`."""
    pressed_commands: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where things are. `socket_dir` and `log_dir` are on the node where the process runs."""

    postgres_dsn: str
    redis_url: str
    link_secret: bytes
    socket_dir: Path
    log_dir: Path
    link_host: str | None = "127.0.0.1"
    """None: the address of the node where the process runs."""
    limits: Limits = Limits()

    def shared(self) -> dict[str, Any]:
        """These as arguments of a config that is made in the same surroundings."""
        return {part.name: getattr(self, part.name) for part in fields(Surroundings)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig(Surroundings):
    """Everything one shard needs to know.

    `actor` is the name of the shard's actor. A successor stands by until the owner before hands the shard over.
    """

    shard_id: ShardId
    actor: str
    is_successor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyConfig(Surroundings):
    """What the standby of a node is told: its name, and the first digits of Ray's id of the node."""

    actor: str
    node: str

    def of_shard(self, shard_id: ShardId) -> ShardConfig:
        """What it goes by once it has become a shard."""
        return ShardConfig(shard_id=shard_id, actor=self.actor, **self.shared())
