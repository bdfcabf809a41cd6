"""The real service as a process of its own, and what must be left of it once it has stopped: nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from cluster.runtime_dir import RuntimeDir
from persistence.embedded.home import open_home
from persistence.embedded.valkey_launch import SOCKET_NAME
from tests.cluster.service_process import free_port
from tests.support.removing import remove_later

START_TIMEOUT_S: Final = 300.0
STOP_TIMEOUT_S: Final = 120.0
_LEFT_BEHIND_PATIENCE_S: Final = 20.0
_ROOT: Final = Path(__file__).parents[2]
_SHM: Final = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service that answers; `data_dir` and `runtime_dir` are its own."""

    process: subprocess.Popen[bytes]
    base_url: str
    data_dir: Path
    runtime_dir: Path
    log: Path

    @property
    def redis_url(self) -> str:
        """The Redis that it mirrors to: the one it was given, else its own."""
        given = os.environ.get("PORTFOLIO_REDIS_URL")
        if given:
            return given
        home = open_home(self.data_dir, "valkey", account=None)
        sockets = home.socket_directory()
        password = home.secret("password")
        if sockets is None:
            return f"redis://:{password}@127.0.0.1:{home.last_port()}/0"
        return f"unix://:{password}@{sockets / SOCKET_NAME}?db=0"

    @property
    def ray_address(self) -> str:
        """Where its Ray is."""
        return (self.data_dir / "ray_address").read_text(encoding="ascii").strip()


@contextmanager
def running_service(environment: Mapping[str, str] | None = None) -> Iterator[RunningService]:
    """The service on an empty data directory. Leaving it stops the service, and fails if anything of it is left."""
    shared_memory_before = _shared_memory()
    # Postgres runs as another user when the tests run as root, and must be able to pass through.
    data_dir = Path(tempfile.mkdtemp(prefix="portfolio-e2e-", dir="/tmp"))
    data_dir.chmod(0o711)
    runtime_dir = RuntimeDir(data_dir).path
    log = data_dir / "up.log"
    try:
        service = _start(data_dir, runtime_dir, log, environment or {})
        try:
            yield service
        finally:
            problems = _stop(service, shared_memory_before)
        if problems:
            raise AssertionError("\n".join([*problems, "", _tail(log)]))
    finally:
        _end_by_force(data_dir, runtime_dir)
        remove_later(data_dir)
        shutil.rmtree(runtime_dir, ignore_errors=True)


def _start(data_dir: Path, runtime_dir: Path, log: Path, environment: Mapping[str, str]) -> RunningService:
    port = free_port()
    variables = {
        **os.environ,
        "PORTFOLIO_DATA_DIR": str(data_dir),
        "PORTFOLIO_HTTP_PORT": str(port),
        **environment,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("portfolio-state"), "up"],
            cwd=_ROOT,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal that runs the tests is for pytest, which then stops the service itself.
            start_new_session=True,
        )
    service = RunningService(
        process=process, base_url=f"http://127.0.0.1:{port}", data_dir=data_dir, runtime_dir=runtime_dir, log=log
    )
    try:
        _wait_until_ready(service)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return service


def _wait_until_ready(service: RunningService) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            raise AssertionError(f"the service ended with {service.process.returncode}:\n{_tail(service.log)}")
        with suppress(httpx.TransportError):
            if httpx.get(f"{service.base_url}/readyz", timeout=15).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the service is not ready after {START_TIMEOUT_S:g} s:\n{_tail(service.log)}")


def _stop(service: RunningService, shared_memory_before: frozenset[Path]) -> list[str]:
    """Stop the service as Ctrl-C does. Gives what is wrong with how it ended."""
    mentioning = _mentioning(service)
    started = {process.pid: process.create_time() for process in mentioning if process.is_running()}
    pids = frozenset(started)
    ports = _listening_ports(pids)
    assert len(started) > 5, "what the service started cannot be seen, so nothing would be seen to be left"
    assert ports
    service.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        code = service.process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        service.process.kill()
        service.process.wait()
        return [f"the service did not stop within {STOP_TIMEOUT_S:g} s of SIGINT"]
    took_s = time.monotonic() - began
    problems = [] if code == 0 else [f"the service ended with {code} after {took_s:.1f} s"]
    checks: list[Callable[[], list[str]]] = [
        lambda: [f"a process is left: {_shown(process)}" for process in _mentioning(service)],
        lambda: [f"a process that it started is left: {_shown(process)}" for process in _alive(started)],
        lambda: [f"a port is left open: {port}" for port in sorted(ports & _listening_ports(pids))],
        lambda: [f"shared memory is left: {path}" for path in _orphaned_memory(shared_memory_before)],
        lambda: [f"the runtime directory is left: {service.runtime_dir}"] if service.runtime_dir.exists() else [],
    ]
    for check in checks:
        problems += _settled(check)
    return problems


def _settled(check: Callable[[], list[str]]) -> list[str]:
    """What `check` still finds after a while: the kernel takes a moment to take a process away."""
    deadline = time.monotonic() + _LEFT_BEHIND_PATIENCE_S
    while (found := check()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _mentioning(service: RunningService) -> list[psutil.Process]:
    """Every process but this one with a directory of the service in its arguments or its environment."""
    return _working_in(service.data_dir, service.runtime_dir)


def _working_in(*directories: Path) -> list[psutil.Process]:
    needles = [os.fsencode(directory) for directory in directories]
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(OSError, psutil.Error):
            base = Path("/proc") / str(process.pid)
            told = (base / "cmdline").read_bytes() + (base / "environ").read_bytes()
            if process.status() != psutil.STATUS_ZOMBIE and any(needle in told for needle in needles):
                found.append(process)
    return found


def named(service: RunningService, title: str) -> list[int]:
    """The processes of this service whose name begins so; others may run on this machine."""
    needle = os.fsencode(service.runtime_dir)
    found: list[int] = []
    for process in psutil.process_iter():
        # Some of what is listed ends before it is looked at.
        with suppress(OSError, psutil.Error):
            is_named = process.name().startswith(title)
            if is_named and needle in (Path("/proc") / str(process.pid) / "environ").read_bytes():
                found.append(process.pid)
    return found


def _alive(started: Mapping[int, float]) -> list[psutil.Process]:
    alive: list[psutil.Process] = []
    for pid, create_time in started.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.create_time() == create_time and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _listening_ports(pids: frozenset[int]) -> frozenset[int]:
    """The TCP ports that these processes listen on. Once the service has gone, others may take its ports."""
    return frozenset(
        int(connection.laddr[1])
        for connection in psutil.net_connections("tcp")
        if connection.laddr and connection.status == psutil.CONN_LISTEN and connection.pid in pids
    )


def _shared_memory() -> frozenset[Path]:
    return frozenset(_SHM.iterdir()) if _SHM.exists() else frozenset()


def _orphaned_memory(before: frozenset[Path]) -> list[Path]:
    """Files of shared memory that are new and that no living process has mapped; others test on this machine too."""
    new = _shared_memory() - before
    if not new:
        return []
    mapped = ""
    for process in psutil.process_iter():
        with suppress(OSError):
            mapped += (Path("/proc") / str(process.pid) / "maps").read_text()
    return [path for path in sorted(new) if str(path) not in mapped and path.exists()]


def _shown(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    return str(process.pid)


def _end_by_force(data_dir: Path, runtime_dir: Path) -> None:
    for process in _working_in(data_dir, runtime_dir):
        with suppress(psutil.Error):
            process.kill()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4_000:] if log.exists() else ""
