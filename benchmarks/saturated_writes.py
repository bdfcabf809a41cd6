"""Single updates over REST, each acknowledged once it is durable: the service beside the comparison service, in turn.

Both write to one Postgres with the same settings, fsync and synchronous_commit on; each update is one BUY in one of a
thousand portfolios, and is answered with the state after it.
"""

from __future__ import annotations

import random
import statistics
from typing import Final

from benchmarks import holdings
from benchmarks.effort import Effort
from benchmarks.results import Line, Section
from benchmarks.saturated_reads import saturated
from benchmarks.stand import Stand

CONNECTIONS: Final = (1, 16, 64)
_DIFFERENT: Final = 2_000


def measure(stand: Stand, peer_url: str, effort: Effort) -> Section:
    """Rounds of both in turn, at every count of connections."""
    section = Section("saturated writes")
    chance = random.Random(3)
    requests = {url: holdings.updates(url, _DIFFERENT, chance) for url in (stand.base_url, peer_url)}
    for number in range(effort.rounds):
        for connections in CONNECTIONS:
            for what, url in (("update", stand.base_url), ("peer", peer_url)):
                stand.settle()
                with section.round(what, connections=connections, number=number) as found:
                    found.update(saturated(url, connections, requests[url], effort))
    section.lines = [_line(section, connections) for connections in CONNECTIONS]
    return section


def _line(section: Section, connections: int) -> Line:
    update, peer = (
        statistics.median(section.of(what, "per_s", connections=connections)) for what in ("update", "peer")
    )
    what = f"updates, {connections} connection{'s' if connections > 1 else ''}"
    return Line(shows=3, what=what, figure=update, unit="/s", floor=peer, floor_is="peer", least=2.5)
