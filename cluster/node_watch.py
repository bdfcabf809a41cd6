"""Watches a Ray that others look after: whether this process can still be one of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import ray

PERIOD_S: Final = 1.0
SILENCE_S: Final = 60.0
"""As long as Ray's own processes go on looking for a GCS that is away."""


@contextmanager
def node_watched(lost: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile `lost` is called, with the reason, once Ray has given this node up, or has not answered for a minute.

    A driver whose raylet died is told nothing: its calls just fail, or wait for ever.
    """
    ended = threading.Event()

    def watch() -> None:
        answered_at = time.monotonic()
        while not ended.wait(PERIOD_S):
            try:
                is_alive = _is_alive(own_id)
                answered_at = time.monotonic()
            except Exception:  # noqa: BLE001 - whatever it is, Ray did not answer.
                is_alive = True
            if ended.is_set():
                return
            if not is_alive:
                lost("this node is dead to Ray")
            elif time.monotonic() - answered_at > SILENCE_S:
                lost(f"Ray has not answered for {SILENCE_S:g} s")

    own_id = ray.get_runtime_context().get_node_id()
    threading.Thread(target=watch, name="node-watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _is_alive(node_id: str) -> bool:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # it has no annotations
    return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)
