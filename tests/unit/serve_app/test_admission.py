"""One request too many is refused at once; the others, and those who ask whether we live, do not notice."""

import asyncio

import httpx
from fastapi import FastAPI

from serve_app.admission import Admission


def application(gate: asyncio.Event, requests_max: int) -> FastAPI:
    app = FastAPI()
    app.add_middleware(Admission, requests_max=requests_max)

    @app.get("/slow")
    async def slow() -> str:
        await gate.wait()
        return "done"

    @app.get("/broken")
    async def broken() -> str:
        raise RuntimeError("what no handler expects")

    @app.get("/healthz")
    async def healthz() -> str:
        return "alive"

    return app


def client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_one_request_too_many_is_refused_at_once() -> None:
    gate = asyncio.Event()
    async with client(application(gate, 2)) as http:
        waiting = [asyncio.create_task(http.get("/slow")) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await http.get("/slow")
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "overloaded"
        assert refused.json()["limit"] == 2
        assert (await http.get("/healthz")).status_code == 200
        gate.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert (await http.get("/slow")).status_code == 200


async def test_a_request_that_fails_or_goes_away_makes_room() -> None:
    gate = asyncio.Event()
    async with client(application(gate, 1)) as http:
        assert (await http.get("/broken")).status_code == 500
        gone = asyncio.create_task(http.get("/slow"))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        gate.set()
        assert (await http.get("/slow")).status_code == 200
