"""The kinds of faults: what each is, how long it lasts, how often it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is done to the service or to what it stands on."""

    KILL_SHARD = "kill -9 shard actor"
    KILL_REPLICA = "kill -9 API replica"
    KILL_HAPROXY = "kill -9 HAProxy"
    KILL_RAYLET = "kill -9 raylet"
    KILL_GCS = "kill -9 GCS"
    KILL_DRIVER = "kill -9 serving driver"
    KILL_POSTMASTER = "kill -9 postmaster"
    KILL_BACKEND = "kill -9 Postgres backend"
    KILL_VALKEY = "kill -9 Valkey"
    KILL_EVERYTHING = "kill -9 everything"
    STOP_SHARD = "SIGSTOP shard actor"
    STOP_REPLICA = "SIGSTOP API replica"
    STOP_HAPROXY = "SIGSTOP HAProxy"
    STOP_RAYLET = "SIGSTOP raylet"
    STOP_GCS = "SIGSTOP GCS"
    STOP_POSTMASTER = "SIGSTOP postmaster"
    STOP_BACKEND = "SIGSTOP Postgres backend"
    STOP_VALKEY = "SIGSTOP Valkey"
    TERMINATE_IN_COMMIT = "pg_terminate_backend in mid-commit"
    POSTGRES_DELAY = "Postgres proxy: delay"
    POSTGRES_RESET = "Postgres proxy: reset"
    POSTGRES_BLACK_HOLE = "Postgres proxy: black hole"
    POSTGRES_CUT_AFTER_COMMIT = "Postgres proxy: cut after COMMIT"
    REDIS_DELAY = "Redis proxy: delay"
    REDIS_RESET = "Redis proxy: reset"
    REDIS_BLACK_HOLE = "Redis proxy: black hole"
    DISK_FULL = "disk full"
    CLOCK_JUMP = "clock jumps"
    SECOND_OWNER = "second owner forced alive"
    KILL_STANDBY = "kill -9 standby"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """How a kind is played. Of several faults on one `target`, the later waits until the earlier is healed."""

    description: str
    target: str
    duration_s: tuple[float, float] = (0.0, 0.0)
    """From inject to heal, at least and at most."""
    weight: float = 1.0
    """How often it comes, against the others."""
    is_heavy: bool = False
    """The whole of Ray starts anew: ten seconds and more, in which no other fault could show anything."""


_PAUSE_S: Final = (1.0, 6.0)
"""Stopped this long, a process comes back before its callers give up, or after; a shard before its lease of 3 s ends, or after."""
_SHORT_PAUSE_S: Final = (0.5, 2.0)
"""For what Ray declares dead when it does not answer: this must be too short for that."""


def _stop(who: str, duration_s: tuple[float, float] = _PAUSE_S) -> Trait:
    return Trait(
        description=f"{who} is stopped, and goes on later as if nothing had been", target=who, duration_s=duration_s
    )


def _kill(who: str, *, is_heavy: bool = False, weight: float = 1.0) -> Trait:
    # Not the same target as a stop: what is stopped may be killed.
    return Trait(description=f"{who} is killed", target=f"life of {who}", is_heavy=is_heavy, weight=weight)


TRAITS: Final[Mapping[Kind, Trait]] = {
    Kind.KILL_SHARD: _kill("a shard", weight=2.0),
    Kind.KILL_REPLICA: _kill("the API replica"),
    Kind.KILL_HAPROXY: _kill("HAProxy"),
    Kind.KILL_RAYLET: _kill("raylet", is_heavy=True),
    Kind.KILL_GCS: _kill("GCS", is_heavy=True),
    Kind.KILL_DRIVER: _kill("the process that serves", is_heavy=True),
    Kind.KILL_POSTMASTER: _kill("Postgres"),
    Kind.KILL_BACKEND: _kill("a Postgres backend of the service (Postgres then ends all others)"),
    Kind.KILL_VALKEY: _kill("Valkey"),
    Kind.KILL_EVERYTHING: _kill("every process, servers included,", is_heavy=True),
    Kind.STOP_SHARD: _stop("a shard"),
    Kind.STOP_REPLICA: _stop("the API replica"),
    Kind.STOP_HAPROXY: _stop("HAProxy"),
    Kind.STOP_RAYLET: _stop("raylet", _SHORT_PAUSE_S),
    Kind.STOP_GCS: _stop("GCS", _SHORT_PAUSE_S),
    Kind.STOP_POSTMASTER: _stop("Postgres' first process"),
    Kind.STOP_BACKEND: _stop("a Postgres backend of the service"),
    Kind.STOP_VALKEY: _stop("Valkey"),
    Kind.TERMINATE_IN_COMMIT: Trait(
        description="a backend that has an append in hand is ended", target="appends", weight=2.0
    ),
    Kind.POSTGRES_DELAY: Trait(
        description="every answer of Postgres is held up", target="Postgres proxy", duration_s=(1.0, 5.0)
    ),
    Kind.POSTGRES_RESET: Trait(
        description="every connection to Postgres is reset, up to five times in a row", target="Postgres proxy"
    ),
    Kind.POSTGRES_BLACK_HOLE: Trait(
        description="nothing passes to or from Postgres, and nobody is told; in the end it passes, or all is reset",
        target="Postgres proxy",
        duration_s=_PAUSE_S,
    ),
    Kind.POSTGRES_CUT_AFTER_COMMIT: Trait(
        description="an append is committed, its answer swallowed, the connection cut",
        target="Postgres proxy",
        duration_s=(0.0, 2.0),
        weight=2.0,
    ),
    Kind.REDIS_DELAY: Trait(
        description="every answer of Redis is held up", target="Redis proxy", duration_s=(1.0, 5.0), weight=0.5
    ),
    Kind.REDIS_RESET: Trait(
        description="every connection to Redis is reset, up to five times in a row", target="Redis proxy", weight=0.5
    ),
    Kind.REDIS_BLACK_HOLE: Trait(
        description="nothing passes to or from Redis, and nobody is told; in the end it passes, or all is reset",
        target="Redis proxy",
        duration_s=_PAUSE_S,
        weight=0.5,
    ),
    Kind.DISK_FULL: Trait(
        description="the disk of Postgres' data has no room left", target="disk", duration_s=(1.0, 5.0), weight=0.5
    ),
    Kind.CLOCK_JUMP: Trait(
        description="the wall clock of the shards jumps by minutes to hours, forwards or backwards, and is set right",
        target="clock",
        duration_s=(1.0, 6.0),
    ),
    Kind.SECOND_OWNER: Trait(
        description="another incarnation claims a shard, is reached by nobody, and dies without a word",
        target="second owner",
        duration_s=(1.0, 5.0),
    ),
    Kind.KILL_STANDBY: _kill("the standby", weight=0.5),
}

HEAVY: Final = tuple(kind for kind in Kind if TRAITS[kind].is_heavy)
LIGHT: Final = tuple(kind for kind in Kind if not TRAITS[kind].is_heavy)
