"""An answer is never older than an acknowledged write, whoever asks."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal

import httpx

from tests.e2e.rest import API, Rest, buy, new_id, new_instrument, trade
from tests.e2e.service_process import RunningService

CLIENTS = 20
CHECKS_EACH = 100
SHARED_PORTFOLIOS = 10


async def test_a_write_is_seen_by_the_next_read(service: RunningService) -> None:
    """Twenty clients each write and read a hundred times, each on a portfolio of its own."""

    async def client(number: int) -> int:
        chance, checks, cash = random.Random(number), 0, 0
        # A connection for writes and another for reads: nothing that one of them knows can help the other.
        async with (
            httpx.AsyncClient(base_url=service.base_url, timeout=30) as writing,
            httpx.AsyncClient(base_url=service.base_url, timeout=30) as reading,
        ):
            portfolio_id = new_id(f"RAW-{number}")
            await writing.post(f"{API}/portfolios", json={"portfolio_id": portfolio_id})
            for version in range(2, CHECKS_EACH + 2):
                amount = chance.randint(1, 1_000)
                cash += amount
                update = {"updates": [trade("DEPOSIT", "USD", amount, 1)]}
                written = await writing.post(f"{API}/portfolio/{portfolio_id}/update", json=update)
                path = chance.choice(["state", "positions", "transactions?limit=1"])
                read = await reading.get(f"{API}/portfolio/{portfolio_id}/{path}")
                assert (written.status_code, read.status_code) == (200, 200)
                found = json.loads(read.content, parse_float=Decimal)
                match path:
                    case "state":
                        assert (found["version"], found["cash_balance"]) == (version, cash)
                        assert read.content == written.content
                    case "positions":
                        assert found[0]["quantity"] == cash
                        assert read.headers["etag"] == f'"{version}.0"'
                    case _:
                        assert found["items"][0]["version"] == version
                checks += 1
        return checks

    assert sum(await asyncio.gather(*(client(number) for number in range(CLIENTS)))) == 2_000


async def test_versions_never_go_back_for_anyone(service: RunningService, rest: Rest) -> None:
    """Many clients write to a few portfolios and read them; what one was told, all see from then on."""
    portfolios = [rest.opened() for _ in range(SHARED_PORTFOLIOS)]
    name = new_instrument()
    acknowledged = dict.fromkeys(portfolios, 1)

    async def client(number: int) -> None:
        chance = random.Random(number)
        async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as http:
            for _ in range(50):
                portfolio_id = chance.choice(portfolios)
                if chance.random() < 0.5:
                    answer = await http.post(
                        f"{API}/portfolio/{portfolio_id}/update", json={"updates": [buy(name, 1, 1)]}
                    )
                    version = answer.json()["version"]
                    acknowledged[portfolio_id] = max(acknowledged[portfolio_id], version)
                else:
                    at_least = acknowledged[portfolio_id]
                    answer = await http.get(f"{API}/portfolio/{portfolio_id}/state")
                    assert answer.json()["version"] >= at_least

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    assert {portfolio_id: rest.state(portfolio_id).json()["version"] for portfolio_id in portfolios} == acknowledged
