"""The whole application in this process, on shards that answer what a test wants them to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, cast

import httpx
import msgspec
import pytest

from actors.gateway import Gateway
from actors.protocol import Answer, Method, UpdateOutcome, pack
from persistence.history import PostgresHistory
from persistence.price_store import PostgresPriceStore
from portfolio.errors import BY_CODE, PortfolioError, ShardUnavailable
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import ShardMap
from serve_app.analyst import Analyst
from serve_app.app import create_api
from serve_app.backend import Backend
from serve_app.hot_routes import with_hot_routes
from serve_app.querying import Queries
from tests.unit.serve_app.test_metrics import STATUS
from tests.unit.serve_app.test_problems import CONTRACT, RETRY_AFTER

UPDATE = {"updates": [{"transaction_type": "BUY", "instrument_id": "A", "quantity_change": 1, "price": 1}]}


class Shards:
    """Fails every call with `error`, or answers with `answer`; remembers what it was asked."""

    def __init__(self, error: Exception | None = None, answer: Answer | None = None) -> None:
        self.error = error
        self.reply = answer or Answer(b"{}", '"7.0"')
        self.asked: list[tuple[ShardId, Method, bytes]] = []

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        self.asked.append((shard_id, method, payload))
        if self.error is not None:
            raise self.error
        return self.reply


class Away:
    """A journal that does not answer. Stands in for PostgresHistory."""

    async def entries(
        self, portfolio_id: PortfolioId, *, version: int = 0, effective_at: datetime | None = None
    ) -> list[Any]:
        raise ShardUnavailable("Postgres does not answer")

    async def transactions(self, portfolio_id: PortfolioId, *, before_version: int, limit: int) -> list[Any]:
        raise ShardUnavailable("Postgres does not answer")

    async def ping(self) -> None:
        raise ShardUnavailable("Postgres does not answer")


class There(Away):
    """A journal that answers a ping."""

    async def ping(self) -> None:
        return


@asynccontextmanager
async def served(shards: Shards, history: Away | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Backend]:
        yield Backend(
            Gateway(shards, ShardMap.even(2)),
            cast(PostgresHistory, history or Away()),
            cast(PostgresPriceStore, None),
            cast(Queries, None),
            cast(Analyst, None),
        )

    api = create_api(connect)
    transport = httpx.ASGITransport(app=with_hot_routes(api), raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        yield http


CALLS: list[tuple[str, str, object]] = [
    ("GET", "/api/v1/portfolio/P/state", None),
    ("GET", "/api/v1/portfolio/P/positions", None),
    ("GET", "/api/v1/portfolios", None),
    ("POST", "/api/v1/portfolios", {"portfolio_id": "P"}),
    ("POST", "/api/v1/portfolio/P/update", UPDATE),
    ("POST", "/api/v1/portfolio/P/status", {"status": "SUSPENDED"}),
    ("POST", "/api/v1/marks", {"marks": [{"instrument_id": "A", "price": 1}]}),
]


@pytest.mark.parametrize("code", sorted(BY_CODE))
@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_whatever_a_shard_says_is_answered_as_the_contract_has_it(
    method: str, path: str, body: object, code: str
) -> None:
    async with served(Shards(BY_CODE[code]("the detail"))) as http:
        answer = await http.request(method, path, json=body)
    status = CONTRACT.get(code, 500)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.headers.get("retry-after") == RETRY_AFTER.get(code)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_what_nobody_expected_is_a_problem_that_tells_no_secrets(method: str, path: str, body: object) -> None:
    async with served(Shards(RuntimeError("postgresql://user:password@host"))) as http:
        answer = await http.request(method, path, json=body)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal-error"
    assert "password" not in answer.text


@pytest.mark.parametrize("path", ["state?as_of_version=1", "state?as_of=2025-01-01T00:00:00Z", "transactions"])
async def test_a_journal_that_is_away_is_unavailable(path: str) -> None:
    async with served(Shards()) as http:
        answer = await http.get(f"/api/v1/portfolio/P/{path}")
    assert (answer.status_code, answer.json()["code"]) == (503, "shard-unavailable")


async def test_each_update_of_a_batch_has_its_own_fault() -> None:
    for code, status in CONTRACT.items():
        error: PortfolioError = BY_CODE[code]("the detail")
        async with served(Shards(error)) as http:
            body = {"updates": [{"portfolio_id": name, **UPDATE} for name in ("P", "Q", "R")]}
            answer = await http.post("/api/v1/updates", json=body)
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [(one["portfolio_id"], one["status"]) for one in results] == [(name, status) for name in ("P", "Q", "R")]
        # Which shard has a portfolio is no caller's business: the gateway asks elsewhere, and says that it is away if it
        # cannot find it.
        told = "shard-unavailable" if code == "wrong-shard" else code
        assert {one["problem"]["code"] for one in results} == {told}


async def test_readiness_names_what_fails_and_liveness_does_not_ask() -> None:
    shards = Shards(ShardUnavailable("it is recovering"))
    async with served(shards) as http:
        ready = await http.get("/readyz")
        shards.asked.clear()
        alive = await http.get("/healthz")
    assert ready.status_code == 503
    assert ready.json()["status"] == "failing"
    assert set(ready.json()["failing"]) == {"shard-0", "shard-1", "postgres"}
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert shards.asked == []


async def test_portfolios_in_quarantine_are_named_and_do_not_make_the_service_unready() -> None:
    status = replace(STATUS, quarantined={PortfolioId("P-1"): "a row is damaged"}, quarantined_count=1)
    shards = Shards(answer=Answer(pack(asdict(status))))
    async with served(shards, history=There()) as http:
        ready = await http.get("/readyz")
        metrics = await http.get("/metrics")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "failing": {}, "quarantined": {"P-1": "a row is damaged"}}
    assert metrics.status_code == 200
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert 'portfolio_quarantined{portfolio_id="P-1",shard="0"} 1.0' in metrics.text


async def test_metrics_of_shards_that_are_away_say_that() -> None:
    async with served(Shards(ShardUnavailable("it is recovering"))) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert 'portfolio_shard_answers{shard="1"} 0.0' in answer.text


async def test_a_refused_form_never_reaches_a_shard() -> None:
    shards = Shards()
    async with served(shards) as http:
        for path, body in (
            ("/api/v1/portfolios", {}),
            ("/api/v1/portfolio/P/update", {"updates": []}),
            ("/api/v1/portfolio/P/status", {"status": "ASLEEP"}),
            ("/api/v1/updates", {"updates": [{"portfolio_id": "P", "updates": []}]}),
            ("/api/v1/marks", {"marks": [{"instrument_id": "A", "price": -1}]}),
        ):
            assert (await http.post(path, json=body)).status_code == 422
    assert shards.asked == []


async def test_a_state_is_passed_on_as_it_came() -> None:
    async with served(Shards(answer=Answer(b'{"any":"bytes"}', '"7.5"'))) as http:
        answer = await http.get("/api/v1/portfolio/P/state")
        known = await http.get("/api/v1/portfolio/P/state", headers={"If-None-Match": '"7.5"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (200, b'{"any":"bytes"}', '"7.5"')
    assert (known.status_code, known.content) == (304, b"")


async def test_a_batch_keeps_its_order_across_shards() -> None:
    class Echo(Shards):
        async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
            asked = msgspec.msgpack.decode(payload)
            return Answer(pack([UpdateOutcome(command["portfolio_id"], version=shard_id) for command in asked]))

    names = [f"P{number}" for number in range(50)]
    async with served(Echo()) as http:
        body = {"updates": [{"portfolio_id": name, **UPDATE} for name in names]}
        results = (await http.post("/api/v1/updates", json=body)).json()["results"]
    assert [one["portfolio_id"] for one in results] == names
    assert {one["version"] for one in results} == {0, 1}
