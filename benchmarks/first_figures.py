"""The figures of the README: load throughput through handles, and state latency over REST beside a no-op route.

    python -m benchmarks.first_figures [--rounds 5] [--seconds 20]

Everything runs on one machine, this load generator included. Each round measures the no-op and the state in turn;
medians over the rounds are printed with the CPU time that others stole meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from decimal import Decimal

from actors.gateway import Gateway
from benchmarks.bare_service import Measured, bare_service, scratch_settings
from benchmarks.cpu_steal import CpuSteal
from benchmarks.latency import Quantiles, median_of, quantiles
from benchmarks.rest_load import at_rate, get, post
from portfolio.commands import OpenPortfolio, UpdatePortfolio
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.transactions import Transaction, TransactionType

PORTFOLIOS = 1_000
POSITIONS = 20
READS_PER_S = 300
WRITES_PER_S = 50
CALL_SIZE = 100


def buy(number: int) -> Transaction:
    return Transaction(
        transaction_type=TransactionType.BUY,
        instrument_id=InstrumentId(f"INSTRUMENT-{number % POSITIONS:02d}"),
        quantity=Decimal("1.5"),
        price=Decimal("101.25"),
    )


def portfolio(number: int) -> PortfolioId:
    return PortfolioId(f"BENCH-{number % PORTFOLIOS:04d}")


async def open_portfolios(gateway: Gateway) -> None:
    for first in range(0, PORTFOLIOS, 100):
        commands = [
            OpenPortfolio(portfolio_id=portfolio(number), portfolio_name="bench", cash_balance=Decimal(1_000_000))
            for number in range(first, first + 100)
        ]
        await asyncio.gather(*(gateway.write(command) for command in commands))


async def update_rate(gateway: Gateway, updates: int, callers: int) -> float:
    """Updates a second through handles, one transaction each, `CALL_SIZE` a call."""
    calls = iter(range(updates // CALL_SIZE))

    async def caller() -> None:
        for call in calls:
            first = call * CALL_SIZE
            commands = [
                UpdatePortfolio(portfolio_id=portfolio(number), transactions=(buy(number // PORTFOLIOS),))
                for number in range(first, first + CALL_SIZE)
            ]
            outcomes = await gateway.update_many(commands)
            failed = [outcome.fault for outcome in outcomes if outcome.fault]
            if failed:
                raise RuntimeError(f"not booked: {failed[0]}")

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return updates / (time.perf_counter() - began)


async def read_rounds(measured: Measured, rounds: int, seconds: float) -> tuple[Quantiles, Quantiles, float]:
    """Quantiles of the no-op and of the state, while updates are booked, and the share of CPU that was stolen."""
    chance = random.Random(1)
    api = f"{measured.base_url}/api/v1"
    reads = int(READS_PER_S * seconds)
    noops: list[Quantiles] = []
    states: list[Quantiles] = []
    steal = CpuSteal()
    for _ in range(rounds):
        for rows, requests in (
            (noops, [get(measured.noop_url + "/")] * reads),
            (states, [get(f"{api}/portfolio/{portfolio(chance.randrange(PORTFOLIOS))}/state") for _ in range(reads)]),
        ):
            body = b'{"updates":[{"instrument_id":"INSTRUMENT-01","quantity_change":1,"price":"101.25","transaction_type":"BUY"}]}'
            writes = [
                post(f"{api}/portfolio/{portfolio(chance.randrange(PORTFOLIOS))}/update", body)
                for _ in range(int(WRITES_PER_S * seconds))
            ]
            latencies, _ = await asyncio.gather(
                at_rate(requests, measured.base_url, rate=READS_PER_S, connections=32),
                at_rate(writes, measured.base_url, rate=WRITES_PER_S, connections=16),
            )
            rows.append(quantiles(latencies))
    return median_of(noops), median_of(states), steal.share()


async def measure(measured: Measured, rounds: int, seconds: float) -> None:
    await open_portfolios(measured.gateway)
    steal = CpuSteal()
    await update_rate(measured.gateway, PORTFOLIOS * POSITIONS, callers=4)
    rates = sorted([await update_rate(measured.gateway, 50_000, callers=4) for _ in range(3)])
    print(f"updates through handles, {CALL_SIZE} a call: {rates[1]:,.0f}/s (steal {steal.share():.0%})")
    await read_rounds(measured, 1, min(seconds, 5))
    noop, state, stolen = await read_rounds(measured, rounds, seconds)
    print(f"{READS_PER_S} reads/s and {WRITES_PER_S} updates/s over REST, median of {rounds} rounds of {seconds:g} s,")
    print(f"steal {stolen:.0%}; milliseconds p50 / p99 / p99.9:")
    print(f"  no-op {noop.p50:6.2f} / {noop.p99:6.2f} / {noop.p999:6.2f}")
    print(f"  state {state.p50:6.2f} / {state.p99:6.2f} / {state.p999:6.2f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=20.0)
    chosen = options.parse_args()
    with scratch_settings() as settings, bare_service(settings, noop_bytes=7_700) as measured:
        asyncio.run(measure(measured, chosen.rounds, chosen.seconds))
        statuses = asyncio.run(measured.gateway.statuses())
        for status in statuses.values():
            print(f"  {status}")


if __name__ == "__main__":
    main()
