"""A Redis GET of one state document, one at a time: what any cache beside the service would take, network left out."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from typing import Final

import redis

from benchmarks import holdings
from benchmarks.effort import Effort
from benchmarks.quantiles import Quantiles, median_of, quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand

_KEY: Final = "benchmark:state"


def measure(stand: Stand, effort: Effort) -> Section:
    """Rounds of GET over the server's socket."""
    section = Section("Redis GET")
    with closing(redis.Redis.from_url(stand.valkey.url)) as client:
        client.set(_KEY, holdings.state(stand.base_url, 0)[0])
        for number in range(effort.rounds):
            with section.round("GET", number=number) as found:
                found["ms"] = dataclasses.asdict(quantiles([_read_s(client) for _ in range(effort.commits)]))
        client.delete(_KEY)
    median = median_of([Quantiles(**one) for one in section.of("GET", "ms")])
    section.lines = [
        Line(shows=0, what="Redis GET p50", figure=median.p50, unit="ms"),
        Line(shows=0, what="Redis GET p99", figure=median.p99, unit="ms"),
    ]
    return section


def _read_s(client: redis.Redis) -> float:
    began = time.perf_counter()
    client.get(_KEY)
    return time.perf_counter() - began
