"""As many reads as each can answer: every connection asks again as soon as it is answered.

The service has one API replica and the comparison service one process; both share the machine with their servers and
with the load generator, whose own cost a request is told.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import holdings
from benchmarks.cpu_by_role import CpuByRole
from benchmarks.effort import Effort
from benchmarks.http_connection import get
from benchmarks.load import ClosedLoad
from benchmarks.load_process import applied
from benchmarks.quantiles import quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand

_DIFFERENT: Final = 500


def measure(stand: Stand, peer_url: str, effort: Effort) -> Section:
    """Rounds of every kind of read in turn, at every count of connections."""
    section = Section("saturated reads")
    kinds = _kinds(stand, peer_url)
    for number in range(effort.rounds):
        for connections in effort.connections:
            stand.settle()
            for what, requests in kinds.items():
                with section.round(what, connections=connections, number=number) as found:
                    base_url = peer_url if what == "peer" else stand.base_url
                    found.update(saturated(base_url, connections, requests, effort))
    section.lines = _lines(section, effort.connections)
    return section


def saturated(base_url: str, connections: int, requests: list[bytes], effort: Effort) -> dict[str, object]:
    """What a round came to: requests a second, their latency, and the CPU time that each cost, by who spent it."""
    cpu = CpuByRole()
    observed = applied(
        ClosedLoad(*holdings.address(base_url), connections, requests, effort.warm_up_s, effort.saturated_s)
    )
    found = quantiles(observed.latencies_s[""])
    return {
        "per_s": round(len(observed.latencies_s[""]) / observed.seconds, 1),
        "p50_ms": found.p50,
        "p99_ms": found.p99,
        "generator_cpu_us": round(observed.cpu_us, 1),
        "server_cpu_us": cpu.us_each(observed.asked),
    }


def _kinds(stand: Stand, peer_url: str) -> Mapping[str, list[bytes]]:
    chance = random.Random(2)
    states = [holdings.state_url(stand.base_url, chance.randrange(holdings.PORTFOLIOS)) for _ in range(_DIFFERENT)]
    return {
        "no-op": [get(stand.noop_url)],
        "bare no-op": [get(stand.bare_noop_url)],
        "state": [get(url) for url in states],
        "positions": [get(url.removesuffix("/state") + "/positions") for url in states],
        "unchanged": [_conditional(stand.base_url, number) for number in range(_DIFFERENT)],
        "peer": holdings.state_reads(peer_url, _DIFFERENT, chance),
    }


def _conditional(base_url: str, number: int) -> bytes:
    """A read by a caller that has the state already; answered with 304."""
    _, tag = holdings.state(base_url, number)
    return get(holdings.state_url(base_url, number), f"If-None-Match: {tag}\r\n")


def _lines(section: Section, connections: Sequence[int]) -> list[Line]:
    def per_s(what: str) -> float:
        """Saturated: at the count of connections with which it gives most, which is not the same for all."""
        return max(float(statistics.median(section.of(what, "per_s", connections=count))) for count in connections)

    noop, bare, peer = per_s("no-op"), per_s("bare no-op"), per_s("peer")
    least = {"state": 0.65}
    return [
        *(
            Line(shows=2, what=what, figure=per_s(what), unit="/s", floor=noop, floor_is="no-op", least=least.get(what))
            for what in ("state", "positions", "unchanged")
        ),
        Line(shows=2, what="state", figure=per_s("state"), unit="/s", floor=bare, floor_is="bare no-op"),
        Line(shows=2, what="state", figure=per_s("state"), unit="/s", floor=peer, floor_is="peer", least=1.0),
    ]
