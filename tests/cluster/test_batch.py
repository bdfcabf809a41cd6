"""A batch on a real service: real workers and shards are killed under it, and the file is as if nothing had happened."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from analytics.document import AnalysisTerms, PortfolioAnalytics
from analytics.tasks import Job, Workers
from analytics.worker_environment import BATCH
from cluster.attaching import gateway_by_handles
from cluster.batch.chunks import Chunk, chunks_of_all, chunks_of_some
from cluster.batch.run import Batch, write_batch
from cluster.batch.table import rows
from cluster.client import Client
from portfolio.daily_price import DailyPrice
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from tests.cluster.computing import computed
from tests.cluster.service_process import ServiceProcess
from tests.support import daily_prices

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
COMMAND = Path(sys.executable).with_name("portfolio-state")
DAYS = 60
# The window of a portfolio is the last days of all prices, those of other modules among them.
FIRST_DAY = daily_prices.LAST_DAY - timedelta(days=DAYS - 1)
INSTRUMENTS = tuple(InstrumentId(f"BATCH-{letter}") for letter in "ABC")
PORTFOLIOS = tuple(PortfolioId(f"BATCH-{number:02}-{uuid4().hex[:6]}") for number in range(12))
TERMS = AnalysisTerms(window=40, benchmark=INSTRUMENTS[0], risk_free_rate=0.01)


def _close(place: int, day: int) -> Decimal:
    """Three prices that wander apart."""
    return Decimal(round((100 + 20 * place) * (1 + 0.1 * math.sin(day * (place + 1) / 5)), 2)).quantize(Decimal("0.01"))


@pytest.fixture(scope="module")
def ready(joined: ServiceProcess, client: Client) -> ServiceProcess:
    """The service with portfolios that have a past, and this process joined to it."""
    daily_prices.record(joined.postgres_dsn, _prices())
    for number, name in enumerate(PORTFOLIOS):
        _live(client, name, number)
    return joined


def _prices() -> list[DailyPrice]:
    return [
        DailyPrice(
            instrument_id=name,
            day=FIRST_DAY + timedelta(days=day),
            close=_close(place, day),
            adjusted_close=_close(place, day),
        )
        for place, name in enumerate(INSTRUMENTS)
        for day in range(DAYS)
    ]


def _live(client: Client, portfolio_id: PortfolioId, number: int) -> None:
    client.create(portfolio_id, cash_balance=10_000)
    for day in (1, 10 + number, 30):
        bought = {"instrument_id": INSTRUMENTS[(day + number) % 3], "quantity_change": 5 + number, "price": "101.5"}
        moment = datetime.combine(FIRST_DAY + timedelta(days=day), datetime.min.time(), UTC)
        client.update(portfolio_id, [bought | {"transaction_type": "BUY"}], timestamp=moment)


def _written(service: ServiceProcess, chunks: Iterable[Chunk], path: Path, workers: Workers) -> pl.DataFrame:
    batch = Batch(workers=workers, postgres_dsn=service.postgres_dsn, terms=TERMS, chunks=list(chunks))
    asyncio.run(write_batch(batch, path, overwrite=False, advance=lambda rows: None))
    return pl.read_parquet(path)


@pytest.fixture(scope="module")
def undisturbed(ready: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """What a batch gives that nobody disturbs."""
    path = tmp_path_factory.mktemp("batch") / "risk.parquet"
    return _written(ready, chunks_of_some(PORTFOLIOS, 1), path, Workers(BATCH))


class KillingWorkers(Workers):
    """Workers that kill -9 processes when they have done certain chunks, by number, for the first time; 0: themselves."""

    def __init__(self, traces: Path, victims: Mapping[int, Sequence[int]]) -> None:
        super().__init__(BATCH)
        self._traces = traces
        self._victims = victims
        self._begun = count()

    async def run(self, job: Job, *arguments: Any, timeout_s: float) -> Any:
        number = next(self._begun)
        trace = self._traces / str(number)
        return await super().run(_kill_once, trace, self._victims.get(number, ()), job, *arguments, timeout_s=timeout_s)


def _kill_once(trace: Path, victims: Sequence[int], job: Job, *arguments: Any) -> Any:
    result = job(*arguments)
    if victims and not trace.exists():
        trace.touch()
        for pid in victims:
            os.kill(pid or os.getpid(), signal.SIGKILL)
    return result


def test_figures_are_of_each_portfolio_as_it_is(undisturbed: pl.DataFrame, client: Client) -> None:
    assert undisturbed["portfolio_id"].to_list() == list(PORTFOLIOS)
    assert undisturbed["version"].to_list() == [5] * len(PORTFOLIOS)
    assert undisturbed["risk_volatility"].is_not_null().all()
    assert undisturbed["risk_beta"].is_not_null().all()
    assert (undisturbed["window_periods"] == TERMS.window).all()
    totals = [float(client.state(name).total_value) for name in PORTFOLIOS]
    assert undisturbed["exposure_total_value"].to_list() == totals


def test_figures_are_those_that_rest_answers(undisturbed: pl.DataFrame, ready: ServiceProcess) -> None:
    asked = {"window": TERMS.window, "benchmark": TERMS.benchmark, "risk_free_rate": TERMS.risk_free_rate}
    with httpx.Client(base_url=f"{ready.base_url}/api/v1", timeout=60) as rest:
        for name in PORTFOLIOS[:3]:
            answer = computed(partial(rest.get, f"/portfolio/{name}/analytics", params=asked))
            document = msgspec.json.decode(answer.raise_for_status().content, type=PortfolioAnalytics)
            assert rows([document], {}).equals(undisturbed.filter(portfolio_id=name))


def test_workers_that_are_killed_lose_nothing(ready: ServiceProcess, undisturbed: pl.DataFrame, tmp_path: Path) -> None:
    # The moment at which most is lost: all is computed, and nothing of it has arrived.
    workers = KillingWorkers(tmp_path, {2: [0], 7: [0]})
    found = _written(ready, chunks_of_some(PORTFOLIOS, 1), tmp_path / "risk.parquet", workers)
    assert found.equals(undisturbed)
    assert sorted(trace.name for trace in tmp_path.iterdir()) == ["2", "7", "risk.parquet"]


@pytest.mark.soak
def test_shards_that_are_killed_are_waited_for(
    ready: ServiceProcess, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    before = {process.pid for process in ready.shards()}
    workers = KillingWorkers(tmp_path, {2: sorted(before)})
    found = _written(ready, chunks_of_some(PORTFOLIOS, 1), tmp_path / "risk.parquet", workers)
    assert found.equals(undisturbed)
    assert before.isdisjoint(process.pid for process in ready.shards())


@pytest.mark.soak
def test_chunks_of_shards_have_what_chunks_of_names_have(
    ready: ServiceProcess, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    everybody = asyncio.run(_everybody())
    mine = {shard: [name for name in names if name in PORTFOLIOS] for shard, names in everybody.items()}
    found = _written(ready, chunks_of_all(mine, 5), tmp_path / "risk.parquet", Workers(BATCH))
    # How many portfolios a task has may change the last digit of a sum.
    assert_frame_equal(found.sort("portfolio_id"), undisturbed, rel_tol=1e-12, abs_tol=1e-15)


async def _everybody() -> Mapping[ShardId, Sequence[PortfolioId]]:
    return await (await gateway_by_handles()).portfolio_ids()


def _analyze(service: ServiceProcess, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "analyze", *arguments],
        env=service.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_writes_every_portfolio_of_every_shard(ready: ServiceProcess, tmp_path: Path) -> None:
    path = tmp_path / "risk.parquet"
    done = _analyze(ready, "--all", "--out", path, "--window", "40")
    assert done.returncode == 0, done.stdout
    everybody = sorted(name for names in asyncio.run(_everybody()).values() for name in names)
    assert f"{len(everybody):,} portfolios in " in done.stdout
    assert sorted(pl.read_parquet(path)["portfolio_id"]) == everybody
    assert '"benchmark":null' in pl.read_parquet_metadata(path)["conventions"]
    again = _analyze(ready, PORTFOLIOS[0], "--out", path)
    assert (again.returncode, again.stdout.strip()) == (2, f"not written: {path} exists already: --force overwrites it")


def test_the_command_says_what_is_wrong_and_leaves_no_file(ready: ServiceProcess, tmp_path: Path) -> None:
    done = _analyze(ready, PORTFOLIOS[0], "NONE-1", "--out", tmp_path / "risk.parquet")
    assert (done.returncode, done.stdout) == (2, "not written: there is no portfolio NONE-1\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_a_command_that_is_ended_leaves_no_file(ready: ServiceProcess, tmp_path: Path) -> None:
    arguments: list[str | Path] = [COMMAND, "analyze", "--all", "--out", tmp_path / "risk.parquet"]
    with subprocess.Popen(arguments, env=ready.environment(), stdout=subprocess.PIPE, text=True) as running:
        while not list(tmp_path.iterdir()):
            assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=60)[0] == "not written: interrupted\n"
    assert running.returncode == 2
    assert list(tmp_path.iterdir()) == []
