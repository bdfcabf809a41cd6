"""The serving process: the driver of Ray, its shards and its REST front, for as long as Ray and its parent are there."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from actors.gateway import Gateway
from cluster.child import ExitCode, tell_parent_of_serving
from cluster.console import console, report
from cluster.guard import RAY_PROGRAMS, Guard, children_named
from cluster.hosting import end_own_ray
from cluster.loading import load_sample, load_sample_history, show_report
from cluster.node_watch import node_watched
from cluster.serving import Serving
from cluster.settings import Settings
from persistence import postgres
from persistence.price_store import PostgresPriceStore

FIRST_OF_SAMPLE: Final = "PORTFOLIO-0001"
# Ending Ray's processes would look like a loss of Ray, and cut itself short.
_last_deed: Final = threading.Lock()


def serve(settings: Settings, *, is_first: bool, sample: bool) -> None:
    """Serve until KeyboardInterrupt. `is_first` says what to try; a process that replaces one says less."""
    _end_with_parent(settings)
    serving = Serving(settings, report, lambda: _ended_with_ray(settings))
    with serving.running() as gateway:
        if sample:
            asyncio.run(_load_sample_once(gateway, serving.postgres_dsn))
        with serving.front():
            console.print(
                f"\nserving on {settings.base_url} (documentation: {settings.base_url}/docs); Ctrl-C stops",
                soft_wrap=True,
            )
            if is_first:
                _say_what_to_try(settings.base_url, sample)
            tell_parent_of_serving()
            while True:
                time.sleep(3_600)


def _end_with_parent(settings: Settings) -> None:
    def end(_: int) -> None:
        with _last_deed:
            # Nobody is left who would end what is Ray's; an orphan HAProxy would hold the port and answer 503.
            end_own_ray(settings)
            os._exit(ExitCode.FAILED)

    Guard([sys.stdin.fileno()], end)


@contextmanager
def _ended_with_ray(settings: Settings) -> Iterator[None]:
    """Meanwhile this process ends when it has lost its Ray; it would wait for answers that never come.

    What a Ray of ours leaves is ended by the parent.
    """

    def end(reason: str) -> None:
        with _last_deed:
            report(reason)
            os._exit(ExitCode.RAY_LOST)

    with node_watched(end) if settings.ray_address is not None else _children_watched(end):
        yield


@contextmanager
def _children_watched(lost: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile `lost` is called once the raylet or the GCS that this process started has ended."""
    names = {os.pidfd_open(pid): name for name, pid in children_named(RAY_PROGRAMS).items()}
    assert len(names) == len(RAY_PROGRAMS), f"of Ray's processes only {sorted(names.values())} are there"
    guard = Guard(names, lambda descriptor: lost(f"Ray's {names[descriptor]} is gone"))
    try:
        yield
    finally:
        guard.dismiss()


async def _load_sample_once(gateway: Gateway, postgres_dsn: str) -> None:
    first = await gateway.page("", 1, None)
    if first and first[0].portfolio_id != FIRST_OF_SAMPLE:
        console.print("the database has portfolios already: the sample is not loaded")
        return
    # A load that was interrupted goes on where it ended; one that was complete finds nothing to do.
    loaded = await load_sample(gateway, console=console)
    if loaded.booked or loaded.problem_count:
        show_report(loaded, console)
    else:
        console.print("the sample is there already: nothing is booked")
    async with postgres.pool(postgres_dsn, size_max=1) as connections:
        history = await load_sample_history(PostgresPriceStore(connections))
    if history is not None:
        console.print(f"{history.days_new:,} daily prices of {history.instruments_with_new_days} instruments recorded")


def _say_what_to_try(base: str, sample: bool) -> None:
    console.print("\ntry:")
    api = f"{base}/api/v1"
    portfolio = FIRST_OF_SAMPLE if sample else "GROWTH-1"
    lines = [
        f"curl -s {api}/portfolio/{portfolio}/state",
        f"curl -s '{api}/portfolio/{portfolio}/transactions?limit=3'",
        f"curl -s '{api}/portfolios?limit=3'",
        f"curl -s -X POST {api}/portfolio/{portfolio}/update -H 'Idempotency-Key: try-1' -d "
        '\'{"updates": [{"instrument_id": "AAPL", "quantity_change": 10, "price": "125.70", "transaction_type": "BUY"}]}\'',
        f"curl -s '{api}/portfolio/{portfolio}/analytics{'?benchmark=SP500' if sample else ''}'",
        f'curl -s -X POST {api}/portfolio/{portfolio}/optimize -d \'{{"objective": "minimum_variance"}}\'',
        f'curl -s -X POST {api}/analytics/query -d \'{{"sql": "from portfolios order by total_value desc limit 3"}}\'',
        f'curl -s -X POST {api}/marks -d \'{{"marks": [{{"instrument_id": "AAPL", "price": "126.20"}}]}}\'',
    ]
    if not sample:
        lines.insert(
            0, f'curl -s -X POST {api}/portfolios -d \'{{"portfolio_id": "GROWTH-1", "cash_balance": 50000}}\''
        )
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)
