"""What the benchmarks quote: quantiles, CPU time, and whether a promise is held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cpu_by_role, scale, stand
from benchmarks.quantiles import quantiles
from benchmarks.results import Line


def test_quantiles_are_of_the_slowest() -> None:
    found = quantiles([number / 1_000 for number in range(1_000)])
    assert (found.p50, found.p90, found.p99, found.p999) == (500, 900, 990, 999)


@pytest.mark.parametrize(
    ("figure", "floor", "bounds", "held"),
    [
        (12.0, 10.0, {"most": 1.2}, True),
        (12.1, 10.0, {"most": 1.2}, False),
        (9.0, 1.0, {"most": 1.2, "enough": 10.0}, True),
        (11.0, 9.5, {"most": 1.2, "enough": 10.0}, False),
        (12.0, 10.5, {"most": 1.2, "enough": 10.0}, True),
        (13.0, 10.5, {"most": 1.2, "enough": 10.0}, False),
        (65.0, 100.0, {"least": 0.65}, True),
        (64.0, 100.0, {"least": 0.65}, False),
        (0.9, None, {"most": 1.0}, True),
        (5.0, 1.0, {}, None),
    ],
)
def test_a_promise_is_held_within_its_bounds(
    figure: float, floor: float | None, bounds: dict[str, float], held: bool | None
) -> None:
    assert Line(shows=1, what="", figure=figure, unit="ms", floor=floor, **bounds).is_held is held  # type: ignore[arg-type]


def test_a_target_tells_when_the_ratio_counts() -> None:
    line = Line(shows=1, what="", figure=11.0, unit="ms", floor=9.5, most=1.2, enough=10.0)
    assert line.target == "under 10 ms, or if the floor is not, at most 1.2 times the floor"


def test_cpu_time_of_a_process_that_ended_is_not_taken_off_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(
        [
            {(1, "shards"): 5.0, (2, "shards"): 1.0, (3, "haproxy"): 2.0},
            {(2, "shards"): 1.5, (3, "haproxy"): 2.0, (4, "shards"): 0.25},
        ]
    )
    monkeypatch.setattr(cpu_by_role, "_seconds", lambda: next(looks))
    assert cpu_by_role.CpuByRole().us_each(1_000) == {"shards": 750.0}


class Started(Exception):
    """A service would have been started with these settings."""


@pytest.mark.parametrize("step", [scale._grown, scale._replayed])
def test_what_a_size_costs_is_measured_without_a_standby(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: Callable[[Path, int], object]
) -> None:
    class Server:
        dsn = url = "somewhere"

        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None: ...

    def started(settings: Any, _: object) -> None:
        raise Started(settings.standby)

    monkeypatch.setattr(stand, "EmbeddedPostgres", Server)
    monkeypatch.setattr(stand, "EmbeddedValkey", Server)
    monkeypatch.setattr(stand, "Service", started)
    with pytest.raises(Started) as found:
        step(tmp_path, 1)
    assert found.value.args == (False,)
