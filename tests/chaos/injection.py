"""Does each kind of fault, and undoes it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Final

import psutil
import psycopg

from tests.chaos import victims
from tests.chaos.kinds import Kind
from tests.chaos.proxies import POSTGRES, REDIS
from tests.chaos.schedule import Step
from tests.chaos.second_owner import CLAIMED
from tests.chaos.stand import Stand
from tests.chaos.victims import MissedError, Role, one_of, workers

DELAY_S: Final = (0.01, 0.25)
RESETS_MAX: Final = 5
CLOCK_JUMP_S: Final = (60.0, 4 * 3600.0)
APPEND_WITHIN_S: Final = 3.0
UNPROVOKED_S: Final = 0.5
"""An append that comes by itself is caught in this time, or hardly ever: after it, appends are made to wait."""
_TERMINATE: Final = """
select pg_terminate_backend(pid) from pg_stat_activity
where state = 'active' and query like '%insert into journal%' and pid <> pg_backend_pid() limit 1
"""

Fault = AbstractContextManager[None]
"""Entering strikes and leaving heals. Entering raises MissedError if there was nothing to strike."""
Find = Callable[[Stand], Sequence[psutil.Process]]


def fault(stand: Stand, step: Step) -> Fault:
    """The fault of a step. Both ends may take seconds, so they belong into a thread."""
    return _FAULTS[step.kind](stand, step)


@contextmanager
def _kill(find: Find, stand: Stand, step: Step) -> Iterator[None]:
    with suppress(psutil.NoSuchProcess):
        one_of(lambda: find(stand), step.choice).kill()
    yield


@contextmanager
def _stop(find: Find, stand: Stand, step: Step) -> Iterator[None]:
    victim = one_of(lambda: find(stand), step.choice)
    try:
        victim.send_signal(signal.SIGSTOP)
        yield
    except psutil.NoSuchProcess as error:
        raise MissedError("it died before it could be stopped") from error
    finally:
        # It may have been killed meanwhile. psutil makes sure that the number does not belong to another by now.
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGCONT)


@contextmanager
def _kill_everything(stand: Stand, step: Step) -> Iterator[None]:
    stand.kill_everything(random.Random(step.choice))
    yield
    # Nobody else would start it again: its operator does, once its servers answer.
    one_of(lambda: victims.postmaster(stand), 0.0)
    _await_postgres(stand)
    stand.start()


def _await_postgres(stand: Stand) -> None:
    deadline = time.monotonic() + victims.PATIENCE_S
    while True:
        try:
            psycopg.connect(stand.servers.postgres_dsn, connect_timeout=2).close()
            return
        except psycopg.Error:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


@contextmanager
def _terminate_in_commit(stand: Stand, step: Step) -> Iterator[None]:
    try:
        with psycopg.connect(stand.servers.postgres_dsn, autocommit=True, connect_timeout=2) as connection:
            if not _terminated(connection, UNPROVOKED_S) and not _terminated_while_held(connection):
                raise MissedError("no append was under way")
    except psycopg.Error as error:
        raise MissedError(f"Postgres is away: {error}") from error
    yield


def _terminated(connection: psycopg.Connection[tuple[object, ...]], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if connection.execute(_TERMINATE).fetchall():
            return True
    return False


def _terminated_while_held(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """With the rows of all shards locked, every append waits in the middle of its statement."""
    with connection.transaction():
        connection.execute("select from shards for update")
        return _terminated(connection, APPEND_WITHIN_S)


@contextmanager
def _delay(proxy: str, stand: Stand, step: Step) -> Iterator[None]:
    stand.proxies.delay(proxy, _between(DELAY_S, step.choice))
    yield
    stand.proxies.heal(proxy)


@contextmanager
def _reset(proxy: str, stand: Stand, step: Step) -> Iterator[None]:
    stand.proxies.reset(proxy, 1 + int(step.choice * RESETS_MAX))
    yield


@contextmanager
def _black_hole(proxy: str, stand: Stand, step: Step) -> Iterator[None]:
    stand.proxies.black_hole(proxy)
    yield
    if step.choice < 0.5:
        stand.proxies.reset(proxy, 1)
    stand.proxies.heal(proxy)


@contextmanager
def _cut_after_commit(stand: Stand, step: Step) -> Iterator[None]:
    has_struck = stand.proxies.cut_after_commit(APPEND_WITHIN_S)
    yield
    stand.proxies.heal(POSTGRES)
    if not has_struck:
        raise MissedError("no append was under way")


@contextmanager
def _fill_disk(stand: Stand, step: Step) -> Iterator[None]:
    stand.disk.fill()
    yield
    stand.disk.empty()


@contextmanager
def _jump(stand: Stand, step: Step) -> Iterator[None]:
    """Half of the jumps go back. Half are taken back at once, the others first by half."""
    sign = 1 if step.choice < 0.5 else -1
    seconds = sign * _between(CLOCK_JUMP_S, 2 * step.choice % 1)
    stand.clock_file.write_text(str(seconds), encoding="ascii")
    yield
    if step.waits:
        stand.clock_file.write_text(str(seconds / 2), encoding="ascii")
        time.sleep(0.5)
    stand.clock_file.unlink()


@contextmanager
def _own_twice(stand: Stand, step: Step) -> Iterator[None]:
    count = stand.service.settings.shard_count
    shard_id = int(step.choice * count)
    arguments = [stand.servers.postgres_dsn, str(shard_id), str(count), str(step.duration_s + 5)]
    command = [sys.executable, "-m", "tests.chaos.second_owner", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as owner:
        try:
            assert owner.stdout is not None
            if not owner.stdout.readline().startswith(CLAIMED):
                raise MissedError("the second owner could not claim the shard")
            yield
        finally:
            owner.kill()


def _between(bounds: tuple[float, float], share: float) -> float:
    low, high = bounds
    return low + share * (high - low)


def _role(role: Role) -> Find:
    return lambda stand: workers(stand, role)


_FAULTS: Final[Mapping[Kind, Callable[[Stand, Step], Fault]]] = {
    Kind.KILL_SHARD: partial(_kill, _role(Role.SHARD)),
    Kind.KILL_REPLICA: partial(_kill, _role(Role.REPLICA)),
    Kind.KILL_HAPROXY: partial(_kill, _role(Role.HAPROXY)),
    Kind.KILL_RAYLET: partial(_kill, _role(Role.RAYLET)),
    Kind.KILL_GCS: partial(_kill, _role(Role.GCS)),
    Kind.KILL_DRIVER: partial(_kill, victims.drivers),
    Kind.KILL_POSTMASTER: partial(_kill, victims.postmaster),
    Kind.KILL_BACKEND: partial(_kill, victims.backends),
    Kind.KILL_VALKEY: partial(_kill, victims.valkey),
    Kind.KILL_EVERYTHING: _kill_everything,
    Kind.STOP_SHARD: partial(_stop, _role(Role.SHARD)),
    Kind.STOP_REPLICA: partial(_stop, _role(Role.REPLICA)),
    Kind.STOP_HAPROXY: partial(_stop, _role(Role.HAPROXY)),
    Kind.STOP_RAYLET: partial(_stop, _role(Role.RAYLET)),
    Kind.STOP_GCS: partial(_stop, _role(Role.GCS)),
    Kind.STOP_POSTMASTER: partial(_stop, victims.postmaster),
    Kind.STOP_BACKEND: partial(_stop, victims.backends),
    Kind.STOP_VALKEY: partial(_stop, victims.valkey),
    Kind.TERMINATE_IN_COMMIT: _terminate_in_commit,
    Kind.POSTGRES_DELAY: partial(_delay, POSTGRES),
    Kind.POSTGRES_RESET: partial(_reset, POSTGRES),
    Kind.POSTGRES_BLACK_HOLE: partial(_black_hole, POSTGRES),
    Kind.POSTGRES_CUT_AFTER_COMMIT: _cut_after_commit,
    Kind.REDIS_DELAY: partial(_delay, REDIS),
    Kind.REDIS_RESET: partial(_reset, REDIS),
    Kind.REDIS_BLACK_HOLE: partial(_black_hole, REDIS),
    Kind.DISK_FULL: _fill_disk,
    Kind.CLOCK_JUMP: _jump,
    Kind.SECOND_OWNER: _own_twice,
    Kind.KILL_STANDBY: partial(_kill, _role(Role.STANDBY)),
}
