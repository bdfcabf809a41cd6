"""Answers that analytics workers compute, the first of which load what they need."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import httpx

COMPUTED_WITHIN_S: Final = 150.0


def computed(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer, asked for again while workers take longer than callers are kept waiting, as on a busy machine."""
    deadline = time.monotonic() + COMPUTED_WITHIN_S
    while True:
        with suppress(httpx.ReadTimeout):
            answer = ask()
            if answer.status_code != 503 or answer.json()["code"] != "analytics-unavailable":
                return answer
        assert time.monotonic() < deadline, f"no figures after {COMPUTED_WITHIN_S:g} s"
        time.sleep(0.1)
