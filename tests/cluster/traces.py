"""What a running service has, and whether it is gone once the service has ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

from tests.cluster.service_process import ServiceProcess, title, wait_until


class Traces:
    """What a running service has, and what of it is still there later."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        processes = service.processes()
        self._ports = {port for process in processes for port in _listening(process)}
        self._shared_memory = {path for process in processes for path in _shared_memory(process)}
        self._pids = {process.pid for process in processes}
        assert len(processes) > 10
        assert service.runtime_dir.is_dir()

    def left(self) -> list[str]:
        """Everything that ought to be gone and is not."""
        # The kernel takes a moment to take down what was killed last.
        wait_until(lambda: not self._service.processes(), 20)
        return [
            *(f"process {process.pid}: {title(process)}" for process in self._service.processes()),
            *(f"port {port}" for port in self._ports & set(_listening_of(self._pids))),
            *(f"shared memory {path}" for path in self._shared_memory if path.exists()),
            *(f"shared memory segment of process {pid}" for pid in self._pids & set(_segment_creators())),
            *(f"file {path}" for path in self._files()),
        ]

    def _files(self) -> Iterable[Path]:
        data_dir = self._service.settings.data_dir
        if self._service.runtime_dir.exists():
            yield self._service.runtime_dir
        if self._service.settings.ray_address_file.exists():
            yield self._service.settings.ray_address_file
        yield from (path for path in data_dir.rglob("*") if path.is_socket() or path.name == "postmaster.pid")


def _listening(process: psutil.Process) -> list[int]:
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []
    return [one.laddr[1] for one in found if one.status == psutil.CONN_LISTEN and one.laddr]


def _listening_of(pids: Collection[int]) -> Iterable[int]:
    """The ports that these processes listen on. Once a service has gone, others may take its ports."""
    found = (one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.pid in pids)
    return (one.laddr[1] for one in found if one.laddr)


def _shared_memory(process: psutil.Process) -> list[Path]:
    """Files of /dev/shm that a process has mapped or open; one without a name any more goes with its last user."""
    base = Path("/proc") / str(process.pid)
    try:
        mapped = {
            line.split(maxsplit=5)[-1] for line in (base / "maps").read_text().splitlines() if "/dev/shm/" in line
        }
        opened = {
            str(link.readlink()) for link in (base / "fd").iterdir() if str(link.readlink()).startswith("/dev/shm/")
        }
    except OSError:
        return []
    return [Path(name) for name in mapped | opened if not name.endswith("(deleted)")]


def _segment_creators() -> Iterable[int]:
    """Processes that made the segments of System V shared memory there are; Postgres keeps a small one."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return (int(line.split()[4]) for line in lines)
