"""State queries and updates offered at fixed rates over REST: the state beside a route that does nothing, in turn.

300 reads and 50 updates a second, whatever comes back, so that a stall counts for every request that was due meanwhile.
The updates go on during the rounds of the no-op too; in the rounds of the comparison service they are its own.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from benchmarks import holdings
from benchmarks.effort import Effort
from benchmarks.http_connection import get
from benchmarks.load import OpenLoad, Shot
from benchmarks.load_process import applied
from benchmarks.quantiles import Quantiles, median_of, quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand

READS_PER_S: Final = 300
WRITES_PER_S: Final = 50
CONNECTIONS: Final = 64


def measure(stand: Stand, peer_url: str, effort: Effort) -> Section:
    """Rounds of the no-op, the state and the comparison service's state in turn, after one that is not counted."""
    section = Section("paced reads")
    chance = random.Random(1)
    _offered(stand.base_url, _noops(stand, effort.warm_up_s), effort.warm_up_s, chance)
    for number in range(effort.rounds):
        for what in ("no-op", "state", "peer"):
            stand.settle()
            with section.round(what, number=number) as found:
                base_url = peer_url if what == "peer" else stand.base_url
                reads = (
                    _noops(stand, effort.paced_s)
                    if what == "no-op"
                    else holdings.state_reads(base_url, int(READS_PER_S * effort.paced_s), chance)
                )
                found.update(_offered(base_url, reads, effort.paced_s, chance))
    section.lines = _lines(*(_median(section, what) for what in ("no-op", "state", "peer")))
    return section


def _noops(stand: Stand, seconds: float) -> list[bytes]:
    return [get(stand.noop_url)] * int(READS_PER_S * seconds)


def _offered(base_url: str, reads: list[bytes], seconds: float, chance: random.Random) -> dict[str, object]:
    """What a round came to: milliseconds of reads and writes, and how the generator did."""
    writes = holdings.updates(base_url, int(WRITES_PER_S * seconds), chance)
    shots = [Shot(number / READS_PER_S, "read", request) for number, request in enumerate(reads)]
    # Anywhere in its slot: at fixed moments every write would meet the same phase of the reads.
    shots += [
        Shot((number + chance.random()) / WRITES_PER_S, "write", request) for number, request in enumerate(writes)
    ]
    shots.sort(key=lambda shot: shot.due_s)
    observed = applied(OpenLoad(*holdings.address(base_url), CONNECTIONS, shots))
    return {
        "read_ms": dataclasses.asdict(quantiles(observed.latencies_s["read"])),
        "write_ms": dataclasses.asdict(quantiles(observed.latencies_s["write"])),
        "generator_cpu_us": round(observed.cpu_us, 1),
        "sent_late_ms": dataclasses.asdict(quantiles(observed.late_s)),
    }


def _median(section: Section, what: str) -> Quantiles:
    return median_of([Quantiles(**one) for one in section.of(what, "read_ms")])


def _lines(noop: Quantiles, state: Quantiles, peer: Quantiles) -> list[Line]:
    return [
        Line(
            shows=1,
            what="state p99",
            figure=state.p99,
            unit="ms",
            floor=noop.p99,
            floor_is="no-op",
            most=1.2,
            enough=10,
        ),
        Line(shows=1, what="state p50", figure=state.p50, unit="ms", floor=noop.p50, floor_is="no-op", most=1.4),
        Line(shows=1, what="state p90", figure=state.p90, unit="ms", floor=noop.p90, floor_is="no-op"),
        Line(shows=1, what="state p99.9", figure=state.p999, unit="ms", floor=noop.p999, floor_is="no-op"),
        Line(shows=1, what="state p99, peer's beside", figure=state.p99, unit="ms", floor=peer.p99, floor_is="peer"),
    ]
