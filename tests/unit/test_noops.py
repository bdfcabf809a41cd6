"""The floors of reads answer alike, and the bare one is for Serve what the service's own application is."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import ASGIApp, Message

from benchmarks import noops

BODY = b'{"noop":"xx"}'


@pytest.mark.parametrize("app", [noops.routed(BODY), noops.bare(BODY)], ids=["routed", "bare"])
async def test_a_floor_answers_its_bytes(app: ASGIApp) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://floor") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize("app", [noops.routed(BODY), noops.bare(BODY)], ids=["routed", "bare"])
async def test_a_floor_starts_and_ends_as_its_server_asks(app: ASGIApp) -> None:
    asked = iter(["lifespan.startup", "lifespan.shutdown"])
    said: list[str] = []

    async def receive() -> Message:
        return {"type": next(asked)}

    async def send(message: Message) -> None:
        said.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_bare_floor_has_no_routes_to_match() -> None:
    assert hasattr(noops.routed(BODY), "routes")
    assert not hasattr(noops.bare(BODY), "routes")
