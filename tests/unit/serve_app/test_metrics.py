"""Statuses as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from actors.shard_status import Phase, ShardStatus
from portfolio.errors import PortfolioError, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from serve_app.metrics import render

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
STATUS = ShardStatus(
    shard_id=ShardId(0),
    modulus=2,
    phase=Phase.SERVING,
    reason=None,
    epoch=7,
    portfolios=3,
    head_seq=100,
    checkpoint_seq=90,
    announced_seq=95,
    queue_depth=2,
    events_pending=5,
    is_mirror_reachable=False,
    commits=40,
    rows=100,
    batch_rows_largest=9,
    batch_sizes=[10, 20, 0, 5, 5],
    tail_rows_recovered=4,
    recovery_s=1.5,
    memory_mb=140.25,
    quarantined_count=101,
    quarantined={PortfolioId('P"\\1'): "a row is damaged", PortfolioId("P-2"): "another"},
    stalls=12,
    stalls_own=3,
    stall_longest_s=0.075,
)


def _samples(*statuses: ShardStatus | PortfolioError) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(
        render({ShardId(number): found for number, found in enumerate(statuses)}).decode()
    ):
        assert family.documentation
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def _of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_a_shards_figures_are_told_in_base_units() -> None:
    samples = _samples(STATUS)
    expected: Mapping[str, float] = {
        "answers": 1,
        "epoch": 7,
        "portfolios": 3,
        "head_seq": 100,
        "checkpoint_lag_rows": 10,
        "announced_lag_rows": 5,
        "queue_depth": 2,
        "events_pending": 5,
        "mirror_reachable": 0,
        "commits_total": 40,
        "rows_total": 100,
        "memory_bytes": 140_250_000,
        "recovery_seconds": 1.5,
        "quarantined": 101,
        "stalls_total": 12,
        "stalls_own_total": 3,
        "stall_longest_seconds": 0.075,
    }
    assert {name: _of(samples, f"portfolio_shard_{name}", shard="0") for name in expected} == expected


def test_a_phase_is_one_of_all() -> None:
    samples = _samples(STATUS)
    phases = {phase: _of(samples, "portfolio_shard_phase", shard="0", phase=phase.value) for phase in Phase}
    assert phases == {phase: float(phase is Phase.SERVING) for phase in Phase}


def test_group_commits_are_told_by_their_size() -> None:
    samples = _samples(STATUS)
    buckets = {
        bound: _of(samples, "portfolio_shard_batch_rows_bucket", shard="0", le=bound) for bound in ("1", "2", "4")
    }
    assert buckets == {"1": 10, "2": 30, "4": 30}
    assert _of(samples, "portfolio_shard_batch_rows_bucket", shard="0", le="+Inf") == 40
    assert _of(samples, "portfolio_shard_batch_rows_count", shard="0") == 40
    assert _of(samples, "portfolio_shard_batch_rows_sum", shard="0") == 100


def test_portfolios_in_quarantine_are_named_whatever_their_names_hold() -> None:
    samples = _samples(STATUS)
    for portfolio_id in STATUS.quarantined:
        assert _of(samples, "portfolio_quarantined", shard="0", portfolio_id=portfolio_id) == 1


def test_a_shard_that_does_not_answer_has_no_figures_but_that() -> None:
    samples = _samples(STATUS, ShardUnavailable("it hangs"))
    assert _of(samples, "portfolio_shard_answers", shard="1") == 0
    assert [name for name, labels in samples if ("shard", "1") in labels] == ["portfolio_shard_answers"]


def test_each_answer_stands_for_itself() -> None:
    assert _samples(STATUS) == _samples(STATUS)
