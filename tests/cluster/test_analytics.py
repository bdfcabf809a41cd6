"""Analytics where Ray can be reached: the client's, what the history ends with, and workers that are killed."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal

import httpx
import psutil
import pytest

from actors.gateway import Gateway
from analytics import frames
from analytics.history import nav_history
from analytics.panel import PricePanel, price_panel
from analytics.worker_environment import RESOURCE
from cluster.client import AsyncClient, Client
from persistence.analytics_source import PostgresSource
from portfolio.errors import InvalidRequest, PortfolioNotFound
from portfolio.ids import PortfolioId
from portfolio.valuation import value
from tests.cluster.computing import computed
from tests.cluster.service_process import ServiceProcess
from tests.support import daily_prices

pytestmark = pytest.mark.timeout(900)
INSTRUMENTS = ["NAV.A", "NAV.B", "NAV.C"]
STATES_SEEN = 10
SEEN_WITHIN_S = 30
_names = itertools.count(1)


@pytest.fixture(scope="module")
def panel(service: ServiceProcess) -> PricePanel:
    """A year of prices, recorded and read back."""
    for seed, name in enumerate(INSTRUMENTS):
        daily_prices.record(service.postgres_dsn, daily_prices.walk(name, seed))
    return price_panel(frames.prices(PostgresSource(service.postgres_dsn).closes_csv()))


@pytest.fixture
def held(client: Client, panel: PricePanel) -> PortfolioId:
    """A portfolio of two of the instruments."""
    portfolio_id = PortfolioId(f"A-{next(_names)}")
    client.create(portfolio_id, cash_balance="10000.00")
    client.update(portfolio_id, [buy("NAV.A", "10", "99.5"), buy("NAV.B", "20.5", "101.25")])
    return portfolio_id


@pytest.fixture(scope="module", autouse=True)
def _warm(service: ServiceProcess, client: Client, panel: PricePanel) -> None:
    """A worker has loaded what it needs, which on a busy machine takes longer than clients wait."""
    portfolio_id = PortfolioId(f"A-{next(_names)}")
    client.create(portfolio_id, cash_balance="10000.00")
    wanted = {"objective": "minimum_variance", "instruments": INSTRUMENTS}
    url = f"{service.base_url}/api/v1/portfolio/{portfolio_id}/optimize"
    assert figures(service, portfolio_id).status_code == 200
    assert computed(lambda: httpx.post(url, json=wanted, timeout=60)).status_code == 200


def figures(service: ServiceProcess, portfolio_id: str, **terms: str) -> httpx.Response:
    """What REST answers for a portfolio's analytics."""
    url = f"{service.base_url}/api/v1/portfolio/{portfolio_id}/analytics"
    return computed(lambda: httpx.get(url, params=terms, timeout=60))


def buy(instrument_id: str, quantity: str, price: str) -> dict[str, str]:
    return {"transaction_type": "BUY", "instrument_id": instrument_id, "quantity_change": quantity, "price": price}


async def test_the_last_point_of_the_history_is_the_total_value_under_updates_and_marks(
    service: ServiceProcess, client: Client, gateway: Gateway, panel: PricePanel, held: PortfolioId
) -> None:
    source = PostgresSource(service.postgres_dsn)
    is_over = threading.Event()

    def trade() -> None:
        for count in itertools.count(1):
            if is_over.is_set():
                return
            client.update(held, [buy("NAV.A", "1", f"{100 + count % 7}.{count % 100:02d}")])
            client.update_marks([{"instrument_id": "NAV.B", "price": f"{90 + count % 11}.{count % 97:02d}"}])

    trading = threading.Thread(target=trade)
    trading.start()
    seen: set[tuple[int, Decimal]] = set()
    try:
        deadline = time.monotonic() + SEEN_WITHIN_S
        while len(seen) < STATES_SEEN:
            assert time.monotonic() < deadline
            live = await gateway.marked_book(held)
            entries = await asyncio.to_thread(source.entries, held)
            total = value(live.book, live.marks).total_value
            assert nav_history(entries, panel, live).values[-1] == float(total)
            seen.add((live.book.version, total))
    finally:
        is_over.set()
        trading.join()
    deadline = time.monotonic() + SEEN_WITHIN_S
    while True:
        state = client.state(held)
        live = await gateway.marked_book(held)
        history = nav_history(await asyncio.to_thread(source.entries, held), panel, live)
        # The state shows the last marks within 100 ms where nothing else runs.
        if (live.book.version, history.values[-1]) == (state.version, float(state.total_value)):
            break
        assert time.monotonic() < deadline, (state, history.values[-1])
        await asyncio.sleep(0.05)


def test_a_client_has_the_figures_that_rest_answers(service: ServiceProcess, client: Client, held: PortfolioId) -> None:
    told = client.analytics(held, window=100, benchmark="NAV.C", risk_free_rate=0.01)
    terms = {"window": "100", "benchmark": "NAV.C", "risk_free_rate": "0.01"}
    rest = figures(service, held, **terms).json()
    assert (told.portfolio_id, told.version, told.window.periods) == (held, rest["version"], 100)
    assert told.risk.volatility == rest["risk"]["volatility"]
    assert told.risk.beta == rest["risk"]["beta"]
    assert told.unavailable == rest["unavailable"]
    assert math.fsum(part.share for part in told.contributions) == pytest.approx(1)


def test_a_client_books_the_trades_that_it_is_told(client: Client, held: PortfolioId) -> None:
    answer = client.optimize(held, {"objective": "minimum_variance", "instruments": INSTRUMENTS})
    assert answer.status == "solved"
    assert answer.weights is not None
    trades = [
        buy(trade.instrument_id, str(trade.quantity_change), str(trade.price))
        | {"transaction_type": trade.transaction_type}
        for trade in answer.trades
    ]
    assert client.update(held, trades, expected_version=answer.version).cash_balance == answer.cash_after


async def test_an_async_client_has_the_same_and_refuses_the_same(
    service: ServiceProcess, client: Client, held: PortfolioId
) -> None:
    asynchronous = await AsyncClient.connect(service.settings)
    assert (await asynchronous.analytics(held)).version == client.state(held).version
    with pytest.raises(InvalidRequest, match="window"):
        await asynchronous.analytics(held, window=1)
    with pytest.raises(InvalidRequest, match="objective"):
        await asynchronous.optimize(held, {"objective": "maximum_fun"})
    with pytest.raises(PortfolioNotFound):
        await asynchronous.analytics("NO-SUCH")


def test_a_killed_worker_costs_time_and_no_answer(service: ServiceProcess, held: PortfolioId, client: Client) -> None:
    assert figures(service, held).status_code == 200
    url = f"{service.base_url}/api/v1/portfolio/{held}/analytics"
    is_over = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not is_over.wait(0.3):
            for pid in _workers(service):
                if len(killed) < 2 and pid not in killed:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        with ThreadPoolExecutor(4) as callers:
            windows = range(20, 60)
            answers = list(callers.map(lambda window: httpx.get(url, params={"window": window}, timeout=60), windows))
    finally:
        is_over.set()
        killing.join()
    assert killed
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert [answer.json()["window"]["periods"] for answer in answers if answer.status_code == 200]
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["code"] == "analytics-unavailable"
    assert figures(service, held, window="77").status_code == 200


def _workers(service: ServiceProcess) -> Iterator[int]:
    """The analytics workers of this service."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if (
            environment.get("PORTFOLIO_WORKER") == RESOURCE
            and environment.get("PORTFOLIO_RUNTIME_DIR") == str(service.runtime_dir)
            and time.time() - process.create_time() > 1
        ):
            yield process.pid
