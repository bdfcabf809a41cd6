"""Load on a REST front: offered at fixed moments whatever comes back, or each request after the answer before it."""

from __future__ import annotations

import itertools
import selectors
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from benchmarks.http_connection import Connection

ANSWER_TIMEOUT_S: Final = 30.0
_HEAD_START_S: Final = 0.05


class Shot(msgspec.Struct, frozen=True):
    """A request and when it is due, in seconds from the beginning; latencies are told apart by `kind`."""

    due_s: float
    kind: str
    request: bytes


class OpenLoad(msgspec.Struct, frozen=True, tag=True):
    """Every shot once, at its moment, over so many connections at most. Shots are ordered by `due_s`."""

    host: str
    port: int
    connections: int
    shots: list[Shot]


class ClosedLoad(msgspec.Struct, frozen=True, tag=True):
    """The requests over and over, one under way on each connection; counted after `warm_up_s`, for `seconds`."""

    host: str
    port: int
    connections: int
    requests: list[bytes]
    warm_up_s: float
    seconds: float


class Observed(msgspec.Struct, frozen=True):
    """What a load came to: `asked` counts the warm-up too. `cpu_us` is what a request cost the generator; `late_s` how long after it was due each was sent."""

    latencies_s: dict[str, list[float]]
    asked: int
    seconds: float
    cpu_us: float
    late_s: list[float]


def run(load: OpenLoad | ClosedLoad) -> Observed:
    """Apply `load`. Raises RuntimeError for an answer that is no success."""
    return _run_open(load) if isinstance(load, OpenLoad) else _run_closed(load)


def _run_open(load: OpenLoad) -> Observed:
    """Latencies count from the moment a shot was due, so that a stall counts for all that it holds up."""
    latencies: dict[str, list[float]] = defaultdict(list)
    late: list[float] = []
    # select() takes its timeout in microseconds, epoll in milliseconds, which would be part of every latency.
    with _connected(load, selectors.SelectSelector()) as (selector, connections):
        # In turn, so that none is left alone for so long that the server closes it.
        free = deque(connections)
        size, cpu_s = len(free), time.process_time()
        began = time.perf_counter() + _HEAD_START_S
        left = iter(load.shots)
        shot = next(left, None)
        while shot is not None or len(free) < size:
            while shot is not None and free and (sent_at := time.perf_counter()) >= began + shot.due_s:
                free.popleft().ask(shot.request, shot.kind, began + shot.due_s)
                late.append(sent_at - began - shot.due_s)
                shot = next(left, None)
            wait_s = began + shot.due_s - time.perf_counter() if shot is not None and free else None
            for connection in _answered(selector, wait_s):
                latencies[connection.kind].append(time.perf_counter() - connection.since)
                free.append(connection)
        cpu_us = (time.process_time() - cpu_s) / len(load.shots) * 1e6
        return Observed(dict(latencies), len(load.shots), time.perf_counter() - began, cpu_us, late)


def _run_closed(load: ClosedLoad) -> Observed:
    latencies: list[float] = []
    requests = itertools.cycle(load.requests)
    with _connected(load, selectors.DefaultSelector()) as (selector, connections):
        cpu_s, asked, under_way = time.process_time(), len(connections), len(connections)
        counted_from = time.perf_counter() + load.warm_up_s
        ends = counted_from + load.seconds
        for connection in connections:
            connection.ask(next(requests), "", time.perf_counter())
        while under_way:
            for connection in _answered(selector, None):
                now = time.perf_counter()
                if counted_from <= now < ends:
                    latencies.append(now - connection.since)
                if now < ends:
                    connection.ask(next(requests), "", now)
                    asked += 1
                else:
                    under_way -= 1
        return Observed({"": latencies}, asked, load.seconds, (time.process_time() - cpu_s) / asked * 1e6, [])


@contextmanager
def _connected(
    load: OpenLoad | ClosedLoad, selector: selectors.BaseSelector
) -> Iterator[tuple[selectors.BaseSelector, list[Connection]]]:
    connections = [Connection(load.host, load.port) for _ in range(load.connections)]
    try:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        yield selector, connections.copy()
    finally:
        selector.close()
        for connection in connections:
            connection.close()


def _answered(selector: selectors.BaseSelector, wait_s: float | None) -> Iterator[Connection]:
    """The connections whose answers are complete by then. `wait_s` None: until there is something."""
    ready = selector.select(ANSWER_TIMEOUT_S if wait_s is None else max(0.0, wait_s))
    if not ready and wait_s is None:
        raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:g} s")
    for key, _ in ready:
        connection = key.fileobj
        assert isinstance(connection, Connection)
        status = connection.receive()
        if status is None:
            continue
        if not (200 <= status < 300 or status == 304):
            raise RuntimeError(f"answered {status}")
        yield connection
