"""A whole service in processes of its own: started, watched, killed and ended by tests, with nothing left behind."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from cluster.runtime_dir import RuntimeDir
from cluster.settings import Settings
from persistence.embedded.postgres_session import DATABASE, address
from tests.support.removing import remove_later

START_TIMEOUT_S: Final = 300.0
STOP_TIMEOUT_S: Final = 120.0
GONE_TIMEOUT_S: Final = 15.0
SOCKET_PORT: Final = 5432
"""Of the embedded Postgres; without TCP it is only part of the socket's name."""

_SERVER: Final = re.compile(r"portfolio-[0-9a-f]{12}")
_FOREIGN: Final = re.compile(r"(PORTFOLIO|RAY|SERVE)_")


class ServiceProcess:
    """`portfolio-state up` on a data directory below `top`, on an HTTP port of its own; `variables` are more settings."""

    def __init__(self, top: Path, *, shard_count: int = 2, variables: Mapping[str, str] | None = None) -> None:
        self.top = top
        self.settings = Settings(data_dir=top / "data", http_port=free_port(), shard_count=shard_count)
        self._variables = dict(variables or {})
        self.log = top / "up.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """Where REST is."""
        return f"http://{self.settings.http_host}:{self.settings.http_port}"

    @property
    def postgres_dsn(self) -> str:
        """The embedded Postgres, also while it is down."""
        home = self.settings.data_dir / "postgres"
        return address(DATABASE, host=home / "run", port=SOCKET_PORT, password_file=home / "pgpass")

    @property
    def runtime_dir(self) -> Path:
        """Where the service keeps its sockets and scratch files while it runs."""
        return RuntimeDir(self.settings.data_dir).path

    def environment(self) -> dict[str, str]:
        """The variables of a process that starts or joins this service, and no other service's."""
        return own_environment() | {
            "PORTFOLIO_DATA_DIR": str(self.settings.data_dir),
            "PORTFOLIO_HTTP_PORT": str(self.settings.http_port),
            "PORTFOLIO_SHARD_COUNT": str(self.settings.shard_count),
            **self._variables,
        }

    def launch(self, command: Iterable[str | Path] = (Path(sys.executable).with_name("portfolio-state"), "up")) -> None:
        """Start it and return at once."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*command],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def await_log(self, text: str, *, since: int = 0) -> None:
        """Return once its output after byte `since` has `text`. Raises AssertionError if it ends before, or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while text not in self.log.read_bytes()[since:].decode(errors="replace"):
            assert self._child is not None
            assert self._child.poll() is None, f"it ended with {self._child.returncode}:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"no {text!r} after {START_TIMEOUT_S:g} s:\n{self.log.read_text()}"
            time.sleep(0.05)

    def start(self) -> None:
        """Return once it serves."""
        said = self.log.stat().st_size if self.log.exists() else 0
        self.launch()
        self.await_log("serving on", since=said)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as an operator does; gives its exit code."""
        assert self._child is not None
        self._child.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._child is not None
        code = self._child.wait(STOP_TIMEOUT_S)
        self._child = None
        return code

    def processes(self) -> list[psutil.Process]:
        """Every live process that belongs to it: by descent, by the directories it was told of, or by where it works."""
        child = self._child.pid if self._child is not None else -1
        return [process for process in psutil.process_iter() if is_alive(process) and self._is_ours(process, child)]

    def _is_ours(self, process: psutil.Process, child: int) -> bool:
        if process.pid == os.getpid():
            return False
        try:
            if process.pid == child or child in (parent.pid for parent in process.parents()):
                return True
            if Path(process.cwd()).is_relative_to(self.top):
                return True
            needles = (str(self.runtime_dir) + "/", str(self.top) + "/")
            told = "\0".join([*process.cmdline(), *process.environ().values()])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return any(needle in told for needle in needles)

    def shards(self) -> list[psutil.Process]:
        """The processes of its shards."""
        return self.named("ray::ShardActor")

    def named(self, text: str) -> list[psutil.Process]:
        """Those of its processes that have `text` in their name or command, which Ray's workers put there."""
        return [process for process in self.processes() if text in title(process)]

    def postmaster(self) -> psutil.Process | None:
        """The embedded Postgres' first process, None if it does not run."""
        try:
            note = (self.settings.data_dir / "postgres" / "data" / "postmaster.pid").read_text()
            process = psutil.Process(int(note.splitlines()[0]))
            return process if "postgres" in process.name() and is_alive(process) else None
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def logs(self, lines: int = 15) -> str:
        """The ends of all its logs, for the message of a failure."""
        found = [self.log, *sorted((self.settings.data_dir / "log").glob("*.log"))]
        found += sorted((self.settings.data_dir / "postgres" / "log").glob("*.log"))
        ends = {log: log.read_text(errors="replace").splitlines()[-lines:] for log in found if log.exists()}
        return "\n".join(f"--- {log}\n" + "\n".join(end) for log, end in ends.items())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to `up` itself, and to no process that it started."""
        assert self._child is not None
        self._child.send_signal(number)

    def press_ctrl_c(self) -> None:
        """What a terminal does: the whole process group of `up` is interrupted."""
        assert self._child is not None
        os.killpg(self._child.pid, signal.SIGINT)

    def kill_everything(self, chance: random.Random) -> int:
        """Kill -9 every process of it at one moment, in any order; gives how many there were."""
        killed = 0
        # What was being forked while the list was made is found the second time.
        while found := self.processes():
            chance.shuffle(found)
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    killed += 1
            psutil.wait_procs(found, timeout=GONE_TIMEOUT_S)
        if self._child is not None:
            self._child.wait(STOP_TIMEOUT_S)
            self._child = None
        return killed


def own_environment() -> dict[str, str]:
    """This process' variables without any that is meant for a service or a Ray: those are set by whoever starts one."""
    return {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}


def free_port() -> int:
    """A port that stays the service's own while it is down: the kernel gives none of these to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            return port


def title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join([process.name(), *process.cmdline()])
    return ""


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def service_process(*, shard_count: int = 2, variables: Mapping[str, str] | None = None) -> Iterator[ServiceProcess]:
    """A service that is not started yet; whatever is left of it at the end is killed and removed."""
    # A short path that the user who runs Postgres for root can pass through, which pytest's own is not.
    top = Path(tempfile.mkdtemp(prefix="pss-t-", dir="/tmp"))
    top.chmod(0o711)
    service = ServiceProcess(top, shard_count=shard_count, variables=variables)
    try:
        yield service
    finally:
        service.kill_everything(random.Random(0))
        shutil.rmtree(service.runtime_dir, ignore_errors=True)
        remove_later(top)


def wait_until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `is_so` came to be within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
