"""Every shard's status as Prometheus text. All of it comes from the shards, so any replica answers alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.shard_status import Phase, ShardStatus
from portfolio.errors import PortfolioError
from portfolio.ids import ShardId

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_MB: Final = 1e6

Figure = Callable[[ShardStatus], float]

_GAUGES: Final[Sequence[tuple[str, str, Figure]]] = (
    ("epoch", "How often the shard was claimed", lambda status: status.epoch),
    ("portfolios", "Portfolios served", lambda status: status.portfolios),
    ("head_seq", "Rows in the shard's journal", lambda status: status.head_seq),
    ("checkpoint_lag_rows", "Rows after the checkpoint", lambda status: status.head_seq - status.checkpoint_seq),
    ("announced_lag_rows", "Rows not yet on the stream", lambda status: status.head_seq - status.announced_seq),
    ("queue_depth", "Commands that wait to be decided", lambda status: status.queue_depth),
    ("events_pending", "Events that wait to be announced", lambda status: status.events_pending),
    ("mirror_reachable", "Whether Redis answers", lambda status: status.is_mirror_reachable),
    ("memory_bytes", "Resident memory of the shard's process", lambda status: status.memory_mb * _MB),
    ("recovery_seconds", "How long the last recovery took", lambda status: status.recovery_s),
    ("quarantined", "Portfolios in quarantine", lambda status: status.quarantined_count),
    ("stall_longest_seconds", "Longest time that the event loop was held up", lambda status: status.stall_longest_s),
)
_COUNTERS: Final[Sequence[tuple[str, str, Figure]]] = (
    ("commits", "Batches committed since the shard started", lambda status: status.commits),
    ("rows", "Rows committed since the shard started", lambda status: status.rows),
    ("stalls", "Times that the event loop was held up for more than 10 ms", lambda status: status.stalls),
    ("stalls_own", "Those in which it was at work itself, rather than waiting", lambda status: status.stalls_own),
)


def render(statuses: Mapping[ShardId, ShardStatus | PortfolioError]) -> bytes:
    """The exposition of all shards."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shards(statuses))
    return generate_latest(registry)


class _Shards(Collector):
    def __init__(self, statuses: Mapping[ShardId, ShardStatus | PortfolioError]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        answered = [found for found in self._statuses.values() if isinstance(found, ShardStatus)]
        yield self._answering()
        yield _phases(answered)
        for name, meaning, figure in _GAUGES:
            yield _family(GaugeMetricFamily(f"portfolio_shard_{name}", meaning, labels=["shard"]), answered, figure)
        for name, meaning, figure in _COUNTERS:
            yield _family(CounterMetricFamily(f"portfolio_shard_{name}", meaning, labels=["shard"]), answered, figure)
        yield _batch_sizes(answered)
        yield _quarantined(answered)

    def _answering(self) -> Metric:
        family = GaugeMetricFamily("portfolio_shard_answers", "Whether the shard told its figures", labels=["shard"])
        for number, found in self._statuses.items():
            family.add_metric([str(number)], isinstance(found, ShardStatus))
        return family


def _family(family: GaugeMetricFamily | CounterMetricFamily, statuses: Iterable[ShardStatus], figure: Figure) -> Metric:
    for status in statuses:
        family.add_metric([str(status.shard_id)], figure(status))
    return family


def _phases(statuses: Iterable[ShardStatus]) -> Metric:
    family = GaugeMetricFamily(
        "portfolio_shard_phase", "1 for the phase that the shard is in", labels=["shard", "phase"]
    )
    for status in statuses:
        for phase in Phase:
            family.add_metric([str(status.shard_id), phase.value], status.phase is phase)
    return family


def _batch_sizes(statuses: Iterable[ShardStatus]) -> Metric:
    family = HistogramMetricFamily("portfolio_shard_batch_rows", "Rows that shared a commit", labels=["shard"])
    for status in statuses:
        if not status.batch_sizes:
            # It is recovering.
            continue
        # The last size has no bound.
        bounds = [*(str(2**power) for power in range(len(status.batch_sizes) - 1)), "+Inf"]
        buckets = zip(bounds, itertools.accumulate(status.batch_sizes), strict=False)
        family.add_metric([str(status.shard_id)], list(buckets), status.rows)
    return family


def _quarantined(statuses: Iterable[ShardStatus]) -> Metric:
    meaning = "1 for a portfolio in quarantine, of a hundred for each shard at most"
    family = GaugeMetricFamily("portfolio_quarantined", meaning, labels=["shard", "portfolio_id"])
    for status in statuses:
        for portfolio_id in status.quarantined:
            family.add_metric([str(status.shard_id), portfolio_id], 1)
    return family
