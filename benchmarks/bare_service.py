"""A service of our own for a measurement: a scratch data directory, free ports, and a no-op route beside the API."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Response
from ray import serve

from actors.gateway import Gateway
from cluster.ray_profile import free_ports
from cluster.service import Service
from cluster.settings import Settings


@dataclass(frozen=True, slots=True)
class Measured:
    """The running service: its gateway by handles, and the URLs of its REST front and of the no-op."""

    gateway: Gateway
    base_url: str
    noop_url: str
    service: Service


@contextmanager
def scratch_settings() -> Iterator[Settings]:
    """Settings on a data directory that is removed at the end."""
    data_dir = Path(tempfile.mkdtemp(prefix="portfolio-bench-"))
    # Root's Postgres runs under another user, who has to get through.
    data_dir.chmod(0o711)
    try:
        yield Settings(data_dir=data_dir, http_port=free_ports(1)[0])
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


@contextmanager
def bare_service(settings: Settings, noop_bytes: int) -> Iterator[Measured]:
    """The service with an empty or recovered database; the no-op answers `noop_bytes` bytes of JSON."""
    service = Service(settings, lambda step: print(f"  {step}", flush=True))
    base_url = f"http://{settings.http_host}:{settings.http_port}"
    with service.running() as gateway, service.serving():
        _deploy_noop(noop_bytes)
        yield Measured(gateway, base_url, f"{base_url}/noop", service)


def _deploy_noop(size: int) -> None:
    body = b'{"noop":"' + b"x" * max(0, size - 11) + b'"}'

    def build() -> FastAPI:
        app = FastAPI()

        @app.get("/")
        async def noop() -> Response:
            return Response(body, media_type="application/json")

        return app

    class Noop:
        """A route that does nothing, on the same Serve profile: the floor."""

    deployment = serve.deployment(
        name="noop",
        max_ongoing_requests=2_000,
        ray_actor_options={"num_cpus": 0},
        logging_config={"enable_access_log": False},
    )
    serve.run(deployment(serve.ingress(build)(Noop)).bind(), name="noop", route_prefix="/noop")
