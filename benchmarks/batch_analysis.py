"""`analyze --all` beside a service that is asked all the time: how long it takes, and how long a state takes meanwhile.

The portfolios are the sample's, or as many more of the same kind: some fifty transactions each, over five years of daily
closes. States and a route that does nothing are asked for in turn, a hundred of each a second, in the same run, so that
both meet the same machine. The command is a process of its own, as an operator starts it; a first one, which compiles what
the workers keep, is not counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import noops
from benchmarks.apart import apart
from benchmarks.effort import Effort
from benchmarks.holdings import address
from benchmarks.http_connection import get
from benchmarks.load import OpenLoad, Shot
from benchmarks.load_process import applied
from benchmarks.quantiles import Quantiles, median_of, quantiles
from benchmarks.results import Line, Section
from benchmarks.stand import Stand, scratch_directory, stand_on
from cluster.loading import load_sample, load_sample_history
from cluster.sample import sample_shares
from persistence import postgres
from persistence.price_store import PostgresPriceStore
from portfolio.ids import PortfolioId

QUERIES_PER_S: Final = 100
TRANSACTIONS_EACH: Final = 50
_CONNECTIONS: Final = 32
_CALM_S: Final = 10.0
_NOOP_BYTES: Final = 4_000
"""About as much as a state of the sample."""


def measure(effort: Effort) -> Section:
    """Every number of portfolios on a service of its own."""
    section = Section("batch")
    for portfolios in effort.batch_sizes:
        with scratch_directory() as data_dir:
            section.rounds += apart(_measured, data_dir, portfolios, effort.batch_rounds)
    section.lines = [line for portfolios in effort.batch_sizes for line in _lines(section, portfolios)]
    return section


def _measured(data_dir: Path, portfolios: int, rounds: int) -> list[dict[str, Any]]:
    section = Section("batch")
    with stand_on(data_dir) as stand:
        asyncio.run(_load(stand, portfolios))
        noops.deploy(_NOOP_BYTES)
        stand.settle()
        with section.round("calm", portfolios=portfolios) as found:
            found.update(_asked(stand, portfolios, _CALM_S))
        with section.round("first", portfolios=portfolios) as found:
            found["seconds"] = expected_s = _Command(data_dir).ended_s()
        for number in range(rounds):
            with section.round("analyze", portfolios=portfolios, number=number) as found:
                command = _Command(data_dir)
                # To the end or nearly so: what is asked afterwards would not be asked during it.
                found.update(_asked(stand, portfolios, 0.8 * expected_s))
                found["seconds"] = expected_s = command.ended_s()
    return section.rounds


async def _load(stand: Stand, portfolios: int) -> None:
    await load_sample(
        stand.gateway,
        console=Console(quiet=True),
        portfolio_count=portfolios,
        transaction_count=portfolios * TRANSACTIONS_EACH,
    )
    async with postgres.pool(stand.postgres.dsn, 1) as connections:
        await load_sample_history(PostgresPriceStore(connections))


class _Command:
    """`analyze --all` under way."""

    def __init__(self, data_dir: Path) -> None:
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cluster", "analyze", "--all", "--force", "--out", data_dir / "risk.parquet"],
            env=os.environ | {"PORTFOLIO_DATA_DIR": str(data_dir)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def ended_s(self) -> float:
        """Seconds that it took. Raises RuntimeError with its last words if it failed."""
        said, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"analyze ended with {self._process.returncode}: {said}")
        return time.perf_counter() - self._began


def _asked(stand: Stand, portfolios: int, seconds: float) -> dict[str, Any]:
    """States and no-ops in turn, at their moments; milliseconds of each."""
    chance = random.Random(5)
    names = list(sample_shares(portfolios, portfolios * TRANSACTIONS_EACH))
    shots = [
        shot
        for number in range(int(seconds * QUERIES_PER_S))
        for shot in (
            Shot(number / QUERIES_PER_S, "state", get(_state_url(stand, chance.choice(names)))),
            Shot((number + 0.5) / QUERIES_PER_S, "no-op", get(stand.noop_url)),
        )
    ]
    observed = applied(OpenLoad(*address(stand.base_url), _CONNECTIONS, shots))
    return {
        "state_ms": dataclasses.asdict(quantiles(observed.latencies_s["state"])),
        "noop_ms": dataclasses.asdict(quantiles(observed.latencies_s["no-op"])),
    }


def _state_url(stand: Stand, portfolio_id: PortfolioId) -> str:
    return f"{stand.base_url}/api/v1/portfolio/{portfolio_id}/state"


def _lines(section: Section, portfolios: int) -> list[Line]:
    def median(key: str) -> Quantiles:
        return median_of([Quantiles(**one) for one in section.of("analyze", key, portfolios=portfolios)])

    seconds = min(section.of("analyze", "seconds", portfolios=portfolios))
    return [
        Line(shows=5, what=f"analyze --all, {portfolios:,} portfolios", figure=seconds, unit="s"),
        Line(
            shows=5,
            what=f"state p99 during it, {portfolios:,}",
            figure=median("state_ms").p99,
            unit="ms",
            floor=median("noop_ms").p99,
            floor_is="no-op",
            most=1.2,
            enough=10,
        ),
    ]
