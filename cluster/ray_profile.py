"""The low-latency profile of Ray and Serve: the variables that must be set before Ray starts, and why each is."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from analytics.worker_environment import COMPILED_VARIABLE
from cluster import haproxy

HEALTH_CHECKS: Final = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}
"""The head node asks every node each second, and declares it dead after three failures in a row.

A killed node refuses at once: dead after 2 to 3 s. One that is stalled, or cut off, lets each question time out: dead
after 11 to 12 s, and not before, because its shards would be made anew elsewhere for a pause that passes. Ray's own
values (3 s, 10 s, five failures) take 15 s and more than a minute.
"""
_BLOCKS: Final = range(30_000, 32_700, 100)


def shared() -> Mapping[str, str]:
    """Variables for every node of every Ray that the service runs on."""
    variables = {
        # Shards and replicas run at nice 15 otherwise, and lose to everything else on a busy node.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's agent on each node takes 15 to 40 us for every request to tell of its latency, mostly in bursts of 100 ms.
        # The service's own /metrics does not need it.
        "RAY_enable_metrics_collection": "0",
        # An analytics worker has loaded JAX and its kernels, seconds of work that end with it. Ray ends it after an idle
        # second while there are as many other workers as cores, and a shard is one; so long, it is ended for want of memory only.
        "RAY_idle_worker_killing_time_threshold_ms": str(24 * 3_600 * 1_000),
        **HEALTH_CHECKS,
        # Three failures in a row, and the proxy is made anew; every 10 s, a killed HAProxy would be back after 30.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # A proxy that is not ready after 5 s is killed otherwise, which on a busy machine ends a start that only is slow.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    }
    if not haproxy.is_installed():
        return variables
    return {
        **variables,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Stopping waits this long for connections that are open; a client's pool would keep it for half a minute.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
    }


def for_ray_start() -> Mapping[str, str]:
    """Variables for `ray start` and whoever joins that Ray. It asks for the token only when it is told to."""
    return {**shared(), "RAY_AUTH_MODE": "token"}


def environment(haproxy_dir: Path, compiled_dir: Path) -> Mapping[str, str]:
    """Variables for a Ray that this process starts. Ports and files are its own, so that services can stand side by side."""
    variables = {**shared(), COMPILED_VARIABLE: str(compiled_dir)}
    if not haproxy.is_installed():
        return variables
    replica_ports = _free_block()
    grpc_port, metrics_port, stats_port, fallback_port, fallback_grpc_port = (
        replica_ports + offset for offset in (80, 95, 96, 97, 98)
    )
    return {
        **variables,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy.make_launcher(haproxy_dir)),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        # HAProxy turns to Serve's own proxy on this port when no replica is left: another service's must not be there.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc_port),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica_ports),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_ports + 79),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc_port + 10),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy_dir / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy_dir / "metrics.sock"),
    }


def apply(variables: Mapping[str, str]) -> None:
    """Set the variables for the processes that this one starts; what the operator has set stays."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _free_block() -> int:
    """The first of 100 ports that are all free, below those that the kernel gives to outgoing connections.

    They are bound ten seconds later; until then Ray and its callers connect hundreds of times, and one of the kernel's own
    would now and then be taken. Raises OSError if there are none.
    """
    first = os.getpid() % len(_BLOCKS)
    starts: list[int] = [*_BLOCKS[first:], *_BLOCKS[:first]]
    for start in starts:
        if all(_is_free(port) for port in range(start, start + _BLOCKS.step)):
            return start
    raise OSError(f"no {_BLOCKS.step} ports in a row are free from {_BLOCKS.start} to {_BLOCKS.stop}")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
