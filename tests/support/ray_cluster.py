"""A Ray cluster of several nodes on one machine: each a raylet of its own, on a loopback address of its own, to be killed alone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from cluster import ray_profile
from tests.cluster.service_process import free_port, is_alive, own_environment

OBJECT_STORE_BYTES: Final = 80 * 1024 * 1024
START_TIMEOUT_S: Final = 60.0
GONE_TIMEOUT_S: Final = 15.0
_PROXY_PORTS: Final = (
    "RAY_SERVE_WORKER_PROXY_HTTP_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)


class RayNode:
    """One node: what `ray start` left running, in a session of its own by which all its processes are found."""

    def __init__(self, number: int, top: Path, environment: dict[str, str]) -> None:
        self.address = f"127.0.0.{10 + number}"
        self.top = top
        self._environment = environment
        self._output = top / "ray-start.log"
        self._session = -1

    def start(self, *options: str) -> None:
        """Return once it runs. Raises AssertionError with Ray's own words if it does not."""
        # Ray gives a node 30 s to register, which on a busy machine may not do.
        if self._try_to_start(options) != 0:
            self.kill()
            code = self._try_to_start(options)
            assert code == 0, f"ray start ended with {code}:\n{self._output.read_text(errors='replace')}"

    def _try_to_start(self, options: Sequence[str]) -> int:
        own = ["--node-ip-address", self.address, "--temp-dir", str(self.top), "--num-cpus", "1"]
        ports = ["--dashboard-agent-listen-port", "0", "--metrics-export-port", "0"]
        store = ["--object-store-memory", str(OBJECT_STORE_BYTES), "--disable-usage-stats"]
        # A file, not a pipe: the node keeps it open for as long as it lives.
        with self._output.open("wb") as output:
            starting = subprocess.Popen(
                [Path(sys.executable).with_name("ray"), "start", *options, *own, *ports, *store],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._session = starting.pid
            return starting.wait(START_TIMEOUT_S)

    def processes(self) -> list[psutil.Process]:
        """Every live process of it: its daemons, its workers, and what those started."""
        with suppress(psutil.NoSuchProcess):
            return [process for process in psutil.process_iter() if self._is_ours(process) and is_alive(process)]
        return self.processes()

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if os.getsid(process.pid) == self._session:
                return True
            return process.environ().get("RAY_TMPDIR") == str(self.top)
        except (ProcessLookupError, psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def raylet(self) -> psutil.Process:
        """The process that is the node to Ray."""
        return next(process for process in self.processes() if process.name() == "raylet")

    def shards(self) -> list[psutil.Process]:
        """The processes of the shards on it."""
        return [process for process in self.processes() if process.name().startswith("ray::ShardActor")]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of it."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Kill -9 everything of it at one moment, as when the machine is lost; return once all is gone."""
        # What was being forked while the list was made is found the second time.
        while found := self.processes():
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found, timeout=GONE_TIMEOUT_S)


class RayCluster:
    """Nodes joined to one head, the first of `nodes`, all with the low-latency profile and one token."""

    def __init__(self, top: Path, node_count: int) -> None:
        self._port = free_port()
        self._shared = own_environment() | {
            **ray_profile.environment(top / "ha", top / "compiled"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.nodes = [self._node(number, top) for number in range(1, node_count + 1)]

    def _node(self, number: int, top: Path) -> RayNode:
        own = top / f"{number}"
        (own / "ha").mkdir(mode=0o700, parents=True)
        environment = self._shared | {"RAY_TMPDIR": str(own)}
        if number > 1:
            # On machines of their own the nodes' HAProxies could use the same ports and files.
            environment |= {name: str(free_port()) for name in _PROXY_PORTS}
            environment |= {
                name: value.replace(f"{top}/ha", f"{own}/ha")
                for name, value in environment.items()
                if name != "RAY_SERVE_HAPROXY_BINARY_PATH"
            }
        return RayNode(number, own, environment)

    @property
    def head(self) -> RayNode:
        """The node that runs the GCS."""
        return self.nodes[0]

    @property
    def address(self) -> str:
        """Where the GCS is."""
        return f"{self.head.address}:{self._port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to run or join the service on this cluster."""
        ray = {name: value for name, value in self._shared.items() if name.startswith("RAY_")}
        return ray | {"PORTFOLIO_RAY_ADDRESS": self.address}

    def start(self) -> None:
        """Start the head, then the others."""
        self.head.start("--head", "--port", str(self._port), "--include-dashboard", "false")
        for node in self.nodes[1:]:
            self.join(node)

    def join(self, node: RayNode) -> None:
        """Start a node that is not the head, for the first time or after it was lost; to Ray it is a new one."""
        node.start("--address", self.address)

    def kill(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.kill()


@contextmanager
def ray_cluster(node_count: int = 3) -> Iterator[RayCluster]:
    """A running cluster; whatever happens, nothing of it is left. Ray keeps its shared memory without a name."""
    # A short path: Ray puts sockets below it, whose paths may have 107 bytes.
    top = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, top, ignore_errors=True)
        (top / "ha").mkdir(mode=0o700)
        cluster = RayCluster(top, node_count)
        stack.callback(cluster.kill)
        cluster.start()
        yield cluster
