"""Every measurement by name, and what each has to stand on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from benchmarks import (
    analytics_reads,
    batch_analysis,
    bulk_writes,
    cache_reads,
    failover_kills,
    holdings,
    machine,
    noops,
    optimisers,
    paced_reads,
    risk_set,
    saturated_reads,
    saturated_writes,
    scale,
    single_commits,
)
from benchmarks.apart import apart
from benchmarks.effort import Effort
from benchmarks.peers.process import running_peer
from benchmarks.results import Section
from benchmarks.stand import Stand, scratch_directory, stand_on

_BESIDE_PEER: Final[Mapping[str, Callable[[Stand, str, Effort], Section]]] = {
    "paced": paced_reads.measure,
    "reads": saturated_reads.measure,
    "writes": saturated_writes.measure,
}
_ALONE: Final[Mapping[str, Callable[[Stand, Effort], Section]]] = {
    "bulk": bulk_writes.measure,
    "commits": single_commits.measure,
    "cache": cache_reads.measure,
}
_APART: Final[Mapping[str, Callable[[Effort], Section]]] = {
    "failover": failover_kills.measure,
    "scale": scale.measure,
    "batch": batch_analysis.measure,
    "risk": risk_set.measure,
    "optimise": optimisers.measure,
    "analytics": analytics_reads.measure,
}
NAMES: Final = (*_BESIDE_PEER, *_ALONE, *_APART)


def measured(wanted: Collection[str], effort: Effort) -> Iterator[tuple[dict[str, str], list[Section]]]:
    """The sections asked for as they come, with the versions of the servers where these are known."""
    if {*_BESIDE_PEER, *_ALONE} & {*wanted}:
        yield apart(_on_one_stand, wanted, effort)
    for name, measure in _APART.items():
        if name in wanted:
            yield {}, [measure(effort)]


def _on_one_stand(wanted: Collection[str], effort: Effort) -> tuple[dict[str, str], list[Section]]:
    """What is measured on one service with the same portfolios."""
    with scratch_directory() as data_dir, stand_on(data_dir) as stand:
        noops.deploy(holdings.fill(stand.base_url))
        sections = _beside_peer(stand, wanted, effort) if _BESIDE_PEER.keys() & {*wanted} else []
        sections += [_ALONE[name](stand, effort) for name in _ALONE if name in wanted]
        return machine.servers(stand), sections


def _beside_peer(stand: Stand, wanted: Collection[str], effort: Effort) -> list[Section]:
    with running_peer(stand.postgres.dsn, stand.valkey.url) as peer_url:
        holdings.fill(peer_url)
        return [_BESIDE_PEER[name](stand, peer_url, effort) for name in _BESIDE_PEER if name in wanted]
