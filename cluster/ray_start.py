"""Starts a Ray of our own on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import ray

from actors.names import NAMESPACE
from analytics import worker_environment
from cluster import haproxy, ray_profile
from cluster.console import Report
from cluster.runtime_dir import RuntimeDir

OBJECT_STORE_BYTES: Final = 200 * 1024 * 1024
_TOO_LATE: Final = "timed out during startup"


class RayTooLate(Exception):
    """Ray's node did not come up within the half minute that Ray gives it, which a busy machine may need more of."""


def start_ray(runtime: RuntimeDir, compiled_dir: Path, report: Report) -> str:
    """Start a Ray of one node and join it; gives its address. Raises RayTooLate, after which another try is worth while."""
    # Compiled code is code: nobody else may put any there.
    compiled_dir.mkdir(mode=0o700, exist_ok=True)
    ray_profile.apply(ray_profile.environment(runtime.haproxy, compiled_dir))
    if not haproxy.is_installed():
        report("HAProxy is not installed: Serve's own proxy is used, which is slower")
    try:
        ray.init(
            namespace=NAMESPACE,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=OBJECT_STORE_BYTES,
            resources=dict(worker_environment.resources()),
            _temp_dir=str(runtime.ray),
        )
    except Exception as error:
        # Ray has no class of its own for it.
        if _TOO_LATE in str(error):
            raise RayTooLate(f"Ray did not start in time: {error}") from error
        raise
    return str(ray.get_runtime_context().gcs_address)
