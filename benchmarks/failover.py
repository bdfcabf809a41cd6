"""How long a killed shard is away: kill -9 of its process, under load, to the next update that it acknowledges.

python -m benchmarks.failover [--kills 20]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import time
from decimal import Decimal
from pathlib import Path
from typing import Final

import psutil
import ray

from actors.gateway import Gateway
from benchmarks.cpu_steal import CpuSteal
from cluster.attaching import attach, gateway_by_handles
from cluster.client import AsyncClient
from cluster.standbys import standby_statuses
from portfolio.commands import UpdatePortfolio
from portfolio.errors import OutcomeUnknown, Unavailable
from portfolio.ids import IdempotencyKey, InstrumentId, PortfolioId, ShardId
from portfolio.sharding import shard_of
from portfolio.transactions import Transaction, TransactionType
from serve_app.finding import find_shard
from tests.cluster.service_process import ServiceProcess, service_process

SHARDS: Final = 2
PORTFOLIOS: Final = 200
WRITERS: Final = 4
PAUSE_S: Final = 0.01
"""Between updates of a writer, and before an update that was refused is asked for again."""
CALM_S: Final = 2.0
"""After a kill, and again after the node has another standby: what starting that costs is over then."""
STANDBY_WAIT_S: Final = 30.0
BUY: Final = Transaction(
    transaction_type=TransactionType.BUY, instrument_id=InstrumentId("X"), quantity=Decimal(1), price=Decimal(10)
)


class Writer:
    """Updates portfolios of one shard, one after the other.

    It knows when it was last acknowledged, and when that try was begun.
    """

    def __init__(self, gateway: Gateway, portfolio_ids: list[PortfolioId]) -> None:
        self._gateway = gateway
        self._portfolio_ids = itertools.cycle(portfolio_ids)
        self._keys = itertools.count()
        self.last = (0.0, 0.0)

    async def run(self) -> None:
        """Update until cancelled; the same update again while its outcome is not known."""
        command = self._next()
        while True:
            asked_at = time.monotonic()
            if await self._is_booked(command):
                self.last = (asked_at, time.monotonic())
                command = self._next()
            await asyncio.sleep(PAUSE_S)

    def _next(self) -> UpdatePortfolio:
        key = IdempotencyKey(f"{id(self)}-{next(self._keys)}")
        return UpdatePortfolio(portfolio_id=next(self._portfolio_ids), transactions=(BUY,), idempotency_key=key)

    async def _is_booked(self, command: UpdatePortfolio) -> bool:
        try:
            await self._gateway.write(command)
        except (Unavailable, OutcomeUnknown):
            return False
        return True


async def away_s(writers: list[Writer]) -> float:
    """Kill shard 0; seconds until one of its writers is acknowledged again."""
    handle = await find_shard(ShardId(0))
    pid: int = await handle.pid.remote()
    psutil.Process(pid).kill()
    killed_at = time.monotonic()
    while True:
        # What was committed before the kill may be acknowledged a moment after it.
        if after := [back_at for asked_at, back_at in (writer.last for writer in writers) if asked_at > killed_at]:
            return min(after) - killed_at
        await asyncio.sleep(0.005)


async def until_followed() -> None:
    """Return once a standby follows shard 0."""
    async with asyncio.timeout(STANDBY_WAIT_S):
        while True:
            if any(ShardId(0) in standby.follows for standby in await standby_statuses()):
                return
            await asyncio.sleep(0.1)


async def measure(service: ServiceProcess, kills: int) -> list[float]:
    """Seconds away of each kill, in the order of length."""
    client = await AsyncClient.connect(service.settings)
    names = [PortfolioId(f"FAILOVER-{number:03}") for number in range(PORTFOLIOS)]
    for name in names:
        await client.create(name, cash_balance=1_000)
    mine = [name for name in names if shard_of(name, SHARDS) == 0]
    writers = [Writer(await gateway_by_handles(), mine[number::WRITERS]) for number in range(WRITERS)]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    found: list[float] = []
    for _ in range(kills):
        if service.settings.standby:
            await until_followed()
        await asyncio.sleep(CALM_S)
        found.append(await away_s(writers))
        print(f"  {found[-1]:.3f} s", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sorted(found)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--json", type=Path, help="a file for the seconds of every kill")
    chosen = options.parse_args()
    with service_process(shard_count=SHARDS) as service:
        service.start()
        attach(service.settings)
        steal = CpuSteal()
        found = asyncio.run(measure(service, chosen.kills))
        print(
            f"{len(found)} kills of a shard under load, seconds to the next acknowledged update: "
            f"p50 {statistics.median(found):.2f}, p90 {found[int(0.9 * len(found))]:.2f}, max {found[-1]:.2f} "
            f"(steal {steal.share():.1%})"
        )
        if chosen.json:
            chosen.json.write_text(json.dumps(found), encoding="ascii")
        ray.shutdown()
        service.stop()


if __name__ == "__main__":
    main()
