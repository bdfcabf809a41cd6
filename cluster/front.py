"""The REST front as it is deployed on a Serve that runs: the first time, and anew."""

from __future__ import annotations

import time
import urllib.request
from typing import Final

from ray import serve

from cluster.settings import Settings
from serve_app.app import Arguments, build

APPLICATION: Final = "portfolio"
READY_TIMEOUT_S: Final = 30.0
_READY_PAUSE_S: Final = 0.05


def deploy(settings: Settings, postgres_dsn: str) -> None:
    """The front as the code on disk has it, once it is ready. One that is there goes on answering until then.

    Raises TimeoutError if it does not become ready, RuntimeError if it cannot be deployed.
    """
    serve.run(
        build(Arguments(postgres_dsn=postgres_dsn, benchmark=settings.benchmark)), name=APPLICATION, route_prefix="/"
    )
    _wait_until_ready(settings)


def _wait_until_ready(settings: Settings) -> None:
    """Return once the front itself says that all is there. Raises TimeoutError."""
    url = f"{settings.base_url}/readyz"
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=READY_TIMEOUT_S) as answer:  # noqa: S310 - our own address
                answer.read()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} does not answer as it should: {error}") from error
        time.sleep(_READY_PAUSE_S)
