"""Shards move to new processes, and are doubled, while clients write: nothing is lost, and none is refused for good."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import psutil
import psycopg
import pytest
import ray

from actors.shard_status import Phase, ShardStatus
from cluster.attaching import attach
from cluster.client import AsyncClient
from cluster.doubling import Split, double
from cluster.moving import move
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of
from tests.cluster.conftest import joined_service
from tests.cluster.service_process import ServiceProcess
from tests.cluster.test_failover import pid_of, rows_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PORTFOLIOS = tuple(PortfolioId(f"MOVING-{number:02}") for number in range(24))
BUY = {"instrument_id": "X", "quantity_change": 1, "price": 10, "transaction_type": "BUY"}


@pytest.fixture
def service() -> Iterator[ServiceProcess]:
    """A service of two shards of its own, since the tests change their number."""
    with joined_service() as service:
        yield service


class Writers:
    """One writer a portfolio, each with a key for each update, and when each of them was acknowledged."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._stopping = asyncio.Event()
        self.acknowledged: dict[PortfolioId, list[tuple[float, int]]] = defaultdict(list)

    async def run(self, portfolio_id: PortfolioId) -> None:
        """Write until told to stop."""
        count = 0
        while not self._stopping.is_set():
            state = await self._client.update(portfolio_id, [BUY], idempotency_key=f"{count}")
            self.acknowledged[portfolio_id].append((time.monotonic(), state.version))
            count += 1
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Let every writer finish what it has begun."""
        self._stopping.set()

    def longest_pause_s(self, modulus: int) -> dict[ShardId, float]:
        """For each shard of `modulus`, the longest time in which none of its portfolios had an update acknowledged."""
        moments: dict[ShardId, list[float]] = defaultdict(list)
        for portfolio_id, acknowledged in self.acknowledged.items():
            moments[shard_of(portfolio_id, modulus)] += [at for at, _ in acknowledged]
        return {
            shard_id: max(after - before for before, after in pairwise(sorted(found)))
            for shard_id, found in moments.items()
        }


@asynccontextmanager
async def writing(service: ServiceProcess, portfolios: Sequence[PortfolioId] = PORTFOLIOS) -> AsyncIterator[Writers]:
    """Writers at work on new portfolios; at the end, everything acknowledged is in the journal once and in order."""
    client = await AsyncClient.connect(service.settings)
    for portfolio_id in portfolios:
        await client.create(portfolio_id)
    writers = Writers(client)
    tasks = [asyncio.create_task(writers.run(portfolio_id)) for portfolio_id in portfolios]
    await asyncio.sleep(1)
    try:
        yield writers
        await asyncio.sleep(1)
    finally:
        writers.stop()
        await asyncio.gather(*tasks)
    for portfolio_id in portfolios:
        opened, *booked = rows_of(service, portfolio_id)
        assert opened[0] == 1
        assert booked == [(number + 2, f"{number}") for number in range(len(booked))]
        assert len(booked) == len(writers.acknowledged[portfolio_id])
        assert (await client.state(portfolio_id)).version == len(booked) + 1


@pytest.mark.soak
async def test_a_shard_moves_again_and_again_under_load(
    service: ServiceProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [await asyncio.to_thread(pid_of, number) for number in (0, 1)]
    pauses_s: list[float] = []
    async with writing(service) as writers:
        for _ in range(3):
            for number in (0, 1):
                moved = await move(ShardId(number))
                assert moved.source == moved.target
                pauses_s.append(moved.paused_s)
    with capsys.disabled():
        shown = ", ".join(f"{paused_s * 1000:.0f}" for paused_s in pauses_s)
        longest = max(writers.longest_pause_s(2).values())
        print(f"\n  moves under load, ms without an owner: {shown}; longest a client saw: {longest * 1000:.0f} ms")  # noqa: T201
    assert not any(map(psutil.pid_exists, before))


@pytest.mark.soak
async def test_the_shards_are_doubled_under_load(service: ServiceProcess, capsys: pytest.CaptureFixture[str]) -> None:
    splits: list[Split] = []
    async with writing(service) as writers:
        await double(4, splits.append)
        # Asked again for the same, it has nothing to do; and it cannot do anything else.
        await double(4, splits.append)
        with pytest.raises(ValueError, match="there are 4 shards"):
            await double(16, splits.append)
        await asyncio.sleep(1)
    client = await AsyncClient.connect(service.settings)
    statuses = await client.shard_statuses()
    assert [isinstance(status, ShardStatus) and status.phase for status in statuses] == [Phase.SERVING] * 4
    assert sum(status.portfolios for status in statuses if isinstance(status, ShardStatus)) == len(PORTFOLIOS)
    with psycopg.connect(service.postgres_dsn) as connection:
        assert connection.execute("select shard_count, doubling_to from cluster").fetchone() == (4, None)
    with capsys.disabled():
        print(f"\n  splits under load: {splits}; longest pauses {writers.longest_pause_s(4)}")  # noqa: T201
    # A restart finds four shards, and everything in them.
    versions = {portfolio_id: (await client.state(portfolio_id)).version for portfolio_id in PORTFOLIOS}
    ray.shutdown()
    await asyncio.to_thread(service.stop)
    await asyncio.to_thread(service.start)
    attach(service.settings)
    client = await AsyncClient.connect(service.settings)
    assert {portfolio_id: (await client.state(portfolio_id)).version for portfolio_id in PORTFOLIOS} == versions
