"""Where the CPU time of a measurement goes: what each part of the service took, by the names of its processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import psutil

_ROLES: Final = {
    "ray::ServeReplica": "replica",
    "haproxy": "haproxy",
    "ray::ShardActor": "shards",
    "postgres": "postgres",
    "valkey": "valkey",
    "benchmarks.peers": "peer",
}
_LEAST_US: Final = 1.0

_Seconds = Mapping[tuple[int, str], float]
"""CPU time by process and role."""


class CpuByRole:
    """CPU time of everything that this process has started, from when it was made."""

    def __init__(self) -> None:
        self._began = _seconds()

    def us_each(self, count: int) -> Mapping[str, float]:
        """Microseconds for each of `count` requests, by role; what took less than one is left out.

        Unlike latencies and rates it changes little when others use the machine too.
        """
        spent = _spent(self._began, _seconds())
        each = {role: seconds / count * 1e6 for role, seconds in spent.items()}
        return {role: round(us, 1) for role, us in sorted(each.items()) if us >= _LEAST_US}


def _spent(before: _Seconds, after: _Seconds) -> Mapping[str, float]:
    """Seconds by role. A process that ended meanwhile counts as none: what it took in the end is not known."""
    spent: dict[str, float] = defaultdict(float)
    for (pid, role), seconds in after.items():
        spent[role] += seconds - before.get((pid, role), 0.0)
    return spent


def _seconds() -> _Seconds:
    """CPU time so far of each descendant of this process and its role."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            found[process.pid, _role(process)] = used.user + used.system
    return found


def _role(process: psutil.Process) -> str:
    told = " ".join(process.cmdline())
    return next((role for text, role in _ROLES.items() if text in told), "other")
