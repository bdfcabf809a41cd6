"""Everything a chaos run stands on: disk, servers, proxies, and the service with its addresses set to the proxies."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.clock.sitecustomize import CONTROL_VARIABLE
from tests.chaos.disk import Disk, disk
from tests.chaos.proxies import POSTGRES, REDIS, Proxies, proxies
from tests.chaos.servers import ChaosServers, chaos_servers
from tests.cluster.service_process import ServiceProcess, free_port
from tests.support.shards import over_tcp

_ROOT: Final = Path(__file__).parents[2]
_CLOCK: Final = Path(__file__).parent / "clock"
START_ATTEMPTS: Final = 3
_SHM: Final = Path("/dev/shm")


class ChaosService(ServiceProcess):
    """The service, whose servers are given to it."""

    def ended(self) -> int | None:
        """The exit code of `up` if it has ended by itself; None while it runs."""
        return self._child.poll() if self._child is not None else None

    def up_pid(self) -> int:
        """The process of `up`."""
        assert self._child is not None
        return self._child.pid


class Stand:
    """The parts of one run."""

    def __init__(self, top: Path, shard_count: int, disk: Disk, servers: ChaosServers, between: Proxies) -> None:
        self.top = top
        self.disk = disk
        self.servers = servers
        self.proxies = between
        self.failed_starts: list[str] = []
        self.clock_file = top / "clock"
        self.service = ChaosService(top, shard_count=shard_count, variables=self._variables())

    def _variables(self) -> dict[str, str]:
        paths = [_CLOCK, _ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        return {
            "PORTFOLIO_POSTGRES_DSN": over_tcp(self.servers.postgres_dsn, self.proxies.ports[POSTGRES]),
            "PORTFOLIO_REDIS_URL": self.servers.redis_url(self.proxies.ports[REDIS]),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, paths))),
            CONTROL_VARIABLE: str(self.clock_file),
        }

    def logs(self) -> str:
        """The ends of all logs."""
        logs = sorted((self.disk.path / "postgres" / "log").glob("*.log"))
        ends = {log: log.read_text(errors="replace").splitlines()[-15:] for log in logs}
        return self.service.logs() + "".join(f"\n--- {log}\n" + "\n".join(end) for log, end in ends.items())

    def start(self) -> None:
        """Return once the service serves; that it does not start on the first attempt is noted in `failed_starts`.

        Raises AssertionError when it does not start at all.
        """
        for attempts_left in reversed(range(START_ATTEMPTS)):
            try:
                self.service.start()
                return
            except AssertionError as error:
                self.failed_starts.append(str(error))
                self.kill_everything(random.Random(0))
                if not attempts_left:
                    raise

    def start_anew(self) -> None:
        """Kill whatever there is, and start it on what it left."""
        self.kill_everything(random.Random(0))
        self.start()

    def kill_everything(self, chance: random.Random) -> int:
        """Kill -9 the service and its servers, which come back by themselves; gives how many processes there were."""
        with self.servers.left_alone():
            return self.service.kill_everything(chance)


@contextmanager
def chaos_stand(shard_count: int, disk_bytes: int) -> Iterator[Stand]:
    """A stand whose service is not started yet. At the end nothing of it is left, whatever happened."""
    # A short path that the user who runs Postgres for root can pass through.
    top = Path(tempfile.mkdtemp(prefix="pss-c-", dir="/tmp"))
    top.chmod(0o711)
    memory_before = _shared_memory()
    stand: Stand | None = None
    try:
        with disk(top / "disk", disk_bytes) as data:
            servers = ChaosServers(data.path, top / "cache", postgres_port=free_port(), valkey_port=free_port())
            ports = {POSTGRES: servers.postgres_port, REDIS: servers.valkey_port}
            with chaos_servers(servers), proxies(ports) as between:
                stand = Stand(top, shard_count, data, servers, between)
                try:
                    yield stand
                finally:
                    stand.kill_everything(random.Random(0))
    finally:
        if stand is not None:
            shutil.rmtree(stand.service.runtime_dir, ignore_errors=True)
        shutil.rmtree(top, ignore_errors=True)
        _remove_orphans(memory_before)


def _shared_memory() -> frozenset[Path]:
    return frozenset(_SHM.iterdir()) if _SHM.exists() else frozenset()


def _remove_orphans(before: frozenset[Path]) -> None:
    """Files of shared memory that came meanwhile and that nobody has mapped: a killed Ray's, and no living one's."""
    new = _shared_memory() - before
    mapped = "".join(map(_maps, psutil.pids())) if new else ""
    for path in new:
        if str(path) not in mapped:
            with suppress(OSError):
                path.unlink()


def _maps(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""
