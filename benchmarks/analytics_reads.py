"""GET analytics: the first after a start, found in the cache, and computed anew after an update; the state beside all that.

Floors: a route that does nothing, and a task that does nothing on a worker of the same kind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import shutil
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import httpx

from analytics.tasks import Workers
from benchmarks import holdings, noops
from benchmarks.apart import apart
from benchmarks.effort import Effort
from benchmarks.http_connection import get
from benchmarks.load import OpenLoad, Shot
from benchmarks.load_process import applied
from benchmarks.quantiles import Quantiles, median_of, quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand, scratch_directory, stand_on
from cluster.settings import Settings
from persistence import postgres
from persistence.price_store import PostgresPriceStore
from portfolio.daily_price import DailyPrice
from portfolio.ids import InstrumentId

DAYS: Final = 1_257
LAST_DAY: Final = date(2022, 12, 28)
BENCHMARK: Final = InstrumentId("BENCHMARK")
READS: Final = 200
"""Of each kind in a round, one after another."""
STATES_PER_S: Final = 300
ANALYTICS_PER_S: Final = 10
CONNECTIONS: Final = 32
FIRST_S: Final = 10.0
WARM_MS: Final = 250.0
_TIMEOUT_S: Final = 60.0
_TAKEN_UP_S: Final = 1.0
"""HAProxy is started anew with the replica half a second after this is ready, and the old one cuts off within 5 s what it has."""


def measure(effort: Effort) -> Section:
    """A service started three times: to be filled, with nothing compiled yet, and with all of it compiled."""
    with scratch_directory() as data_dir:
        apart(_fill, data_dir)
        shutil.rmtree(Settings(data_dir=data_dir).compiled_dir, ignore_errors=True)
        section = Section("analytics")
        for what in ("first call, nothing compiled", "first call, compiled before"):
            section.rounds += apart(_first_call, data_dir, what).rounds
        warm = apart(_warm, data_dir, effort)
    section.rounds += warm.rounds
    section.lines = _lines(section)
    return section


def _fill(data_dir: Path) -> None:
    with stand_on(data_dir) as stand:
        holdings.fill(stand.base_url)
        asyncio.run(_record_prices(stand.postgres.dsn))


async def _record_prices(dsn: str) -> None:
    names = [*(holdings.instrument(number) for number in range(holdings.POSITIONS)), BENCHMARK]
    async with postgres.pool(dsn, 1) as connections:
        await PostgresPriceStore(connections).record(price for name in names for price in _walk(name))


def _walk(name: InstrumentId) -> list[DailyPrice]:
    chance, close, prices = random.Random(name), 100.0, []
    for back in range(DAYS - 1, -1, -1):
        close *= 1 + chance.gauss(0.0003, 0.01)
        price = Decimal(f"{close:.4f}")
        day = LAST_DAY - timedelta(days=back)
        prices.append(DailyPrice(instrument_id=name, day=day, close=price, adjusted_close=price))
    return prices


def _first_call(data_dir: Path, what: str) -> Section:
    """As soon as the service says that it is ready."""
    section = Section("analytics")
    with stand_on(data_dir, benchmark=BENCHMARK) as stand, _caller() as caller, section.round(what) as found:
        time.sleep(_TAKEN_UP_S)
        found["s"] = round(_timed_s(caller, _analytics_url(stand, 0)), 3)
    return section


def _warm(data_dir: Path, effort: Effort) -> Section:
    section = Section("analytics")
    with stand_on(data_dir, benchmark=BENCHMARK) as stand, _caller() as caller:
        noops.deploy(len(caller.get(_analytics_url(stand, 0)).content))
        workers = Workers()
        ways: dict[str, Callable[[int], float]] = {
            "no-op": lambda _: _timed_s(caller, stand.noop_url),
            "task": lambda _: _task_s(workers),
            "cached": lambda _: _timed_s(caller, _analytics_url(stand, 0)),
            "anew": lambda number: _anew_s(caller, stand, number),
        }
        for way in ways.values():
            way(0)
        for number in range(effort.rounds):
            for what, way in ways.items():
                with section.round(what, number=number) as found:
                    latencies_s = [way(number * READS + count) for count in range(READS)]
                    found["ms"] = dataclasses.asdict(quantiles(latencies_s))
        _states(section, stand, effort)
    return section


def _caller() -> httpx.Client:
    return httpx.Client(timeout=_TIMEOUT_S)


def _analytics_url(stand: Stand, number: int) -> str:
    return f"{stand.base_url}/api/v1/portfolio/{holdings.portfolio(number)}/analytics"


def _timed_s(caller: httpx.Client, url: str) -> float:
    began = time.perf_counter()
    answer = caller.get(url)
    taken_s = time.perf_counter() - began
    _check(answer)
    return taken_s


def _check(answer: httpx.Response) -> None:
    # httpx's own error does not get from one process to another.
    if not answer.is_success:
        raise RuntimeError(f"answered {answer.status_code}: {answer.text[:200]}")


def _anew_s(caller: httpx.Client, stand: Stand, number: int) -> float:
    """The time of the read alone, after an update that makes a new version."""
    url = f"{stand.base_url}/api/v1/portfolio/{holdings.portfolio(number)}/update"
    _check(caller.post(url, json={"updates": [holdings.bought(number % holdings.POSITIONS)]}))
    return _timed_s(caller, _analytics_url(stand, number))


def _task_s(workers: Workers) -> float:
    began = time.perf_counter()
    asyncio.run(workers.run(os.getpid, timeout_s=_TIMEOUT_S))
    return time.perf_counter() - began


def _states(section: Section, stand: Stand, effort: Effort) -> None:
    """The state's latency alone, and while analytics are computed anew, in turn."""
    chance = random.Random(1)
    for number in range(effort.rounds):
        for what in ("states alone", "states beside analytics"):
            stand.settle()
            shots = _state_shots(stand, effort.paced_s, chance)
            if what == "states beside analytics":
                shots = sorted([*shots, *_analytics_shots(stand, effort.paced_s, number)], key=lambda shot: shot.due_s)
            with section.round(what, number=number) as found:
                load = OpenLoad(*holdings.address(stand.base_url), CONNECTIONS, shots)
                observed = applied(load).latencies_s
                found.update({f"{kind}_ms": dataclasses.asdict(quantiles(seen)) for kind, seen in observed.items()})


def _state_shots(stand: Stand, seconds: float, chance: random.Random) -> list[Shot]:
    requests = holdings.state_reads(stand.base_url, int(STATES_PER_S * seconds), chance)
    return [Shot(number / STATES_PER_S, "state", request) for number, request in enumerate(requests)]


def _analytics_shots(stand: Stand, seconds: float, round_number: int) -> list[Shot]:
    """Each a moment after an update of its portfolio, so that none is in the cache."""
    count = int(ANALYTICS_PER_S * seconds)
    shots = []
    for place in range(count):
        number, due_s = round_number * count + place, place / ANALYTICS_PER_S
        shots.append(Shot(due_s, "write", holdings.update(stand.base_url, number, [number % holdings.POSITIONS])))
        shots.append(Shot(due_s + 0.05, "analytics", get(_analytics_url(stand, number))))
    return shots


def _lines(section: Section) -> list[Line]:
    first, again = (
        section.of(what, "s")[0] for what in ("first call, nothing compiled", "first call, compiled before")
    )
    noop, task, cached, anew = (_median(section, what, "ms") for what in ("no-op", "task", "cached", "anew"))
    alone = _median(section, "states alone", "state_ms")
    beside = _median(section, "states beside analytics", "state_ms")
    return [
        Line(shows=4, what="analytics, first call after the first start", figure=first, unit="s", most=FIRST_S),
        Line(shows=4, what="analytics, first call after a start", figure=again, unit="s", most=FIRST_S),
        _warm_line("analytics anew p50", anew.p50, task.p50, "task"),
        _warm_line("analytics anew p99", anew.p99, task.p99, "task"),
        _warm_line("analytics cached p50", cached.p50, noop.p50, "no-op"),
        _warm_line("analytics cached p99", cached.p99, noop.p99, "no-op"),
        Line(
            shows=4, what="state p99 beside analytics", figure=beside.p99, unit="ms", floor=alone.p99, floor_is="alone"
        ),
        Line(
            shows=4, what="state p50 beside analytics", figure=beside.p50, unit="ms", floor=alone.p50, floor_is="alone"
        ),
    ]


def _median(section: Section, what: str, key: str) -> Quantiles:
    return median_of([Quantiles(**one) for one in section.of(what, key)])


def _warm_line(what: str, figure: float, floor: float, floor_is: str) -> Line:
    return Line(shows=4, what=what, figure=figure, unit="ms", floor=floor, floor_is=floor_is, enough=WARM_MS)
