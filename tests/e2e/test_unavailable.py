"""What callers are told while a shard hangs, is killed, or too much is asked: the truth, and when to come again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import httpx
import pytest

from actors.settings import Limits
from portfolio.ids import PortfolioId
from portfolio.sharding import shard_of
from serve_app.admission import REQUESTS_MAX
from tests.e2e.rest import API, Rest, assert_problem, exact, new_id, trade
from tests.e2e.service_process import RunningService, named

SHARD_COUNT = 2
READY_WITHIN_S = 60
ANSWERS_WITHIN_S = 30
ADMITTED_WITHIN_S = 9
"""The first that wait for a shard that hangs are told so after ten seconds, and make room for others."""
DEPOSIT = {"updates": [trade("DEPOSIT", "USD", 1, 1)]}


class Pair(NamedTuple):
    """A portfolio whose shard is disturbed, and one on another shard."""

    disturbed: str
    other: str
    shard_id: int
    shard_pid: int


@pytest.fixture
def pair(service: RunningService, rest: Rest) -> Iterator[Pair]:
    ids = iter(range(100))
    by_shard: dict[int, str] = {}
    while len(by_shard) < SHARD_COUNT:
        portfolio_id = new_id(f"S{next(ids)}")
        if by_shard.setdefault(shard_of(PortfolioId(portfolio_id), SHARD_COUNT), portfolio_id) == portfolio_id:
            assert rest.open(portfolio_id).status_code == 201
    found = Pair(by_shard[0], by_shard[1], 0, shard_process(service, by_shard[0]))
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    # One that hung while its process was looked for may have to be confirmed as the owner first.
    while any(rest.state(portfolio_id).status_code != 200 for portfolio_id in by_shard.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield found
    wait_until_ready(service)


def shard_process(service: RunningService, portfolio_id: str) -> int:
    """The process that owns a portfolio: the one without which it does not answer."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        for pid in shard_processes(service):
            # Twice: once, it may have been the machine that stood still.
            if all(is_silent_without(pid, service, portfolio_id) for _ in range(2)):
                return pid
        # It may just be on its way to another process.
        assert time.monotonic() < deadline, f"no shard owns {portfolio_id}"
        time.sleep(0.1)


def is_silent_without(pid: int, service: RunningService, portfolio_id: str) -> bool:
    """Whether a portfolio's shard does not answer while that process hangs."""
    with stopped(pid):
        try:
            url = f"{service.base_url}{API}/portfolio/{portfolio_id}/state"
            httpx.get(url, timeout=httpx.Timeout(30, read=1.5))
        except httpx.ReadTimeout:
            return True
    return False


def shard_processes(service: RunningService) -> list[int]:
    """The shards of this service. A standby that has become one has its name, if not its command line."""
    return named(service, "ray::ShardActor")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def wait_until_ready(service: RunningService) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while httpx.get(f"{service.base_url}/readyz", timeout=30).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def test_a_shard_that_hangs_is_told_of_and_holds_nobody_else_up(service: RunningService, pair: Pair) -> None:
    def path(portfolio_id: str, what: str) -> str:
        return f"{API}/portfolio/{portfolio_id}/{what}"

    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as http:
        with stopped(pair.shard_pid):
            both = {"updates": [{"portfolio_id": name, "idempotency_key": "b", **DEPOSIT} for name in pair[:2]]}
            waiting = [
                asyncio.create_task(call)
                for call in (
                    http.post(path(pair.disturbed, "update"), json=DEPOSIT, headers={"Idempotency-Key": "k"}),
                    http.get(path(pair.disturbed, "state")),
                    http.get(f"{API}/portfolios"),
                    http.post(f"{API}/updates", json=both),
                )
            ]
            # Who asks how the shards are is told soon that one does not say.
            ready, metrics = await asyncio.gather(http.get("/readyz"), http.get("/metrics"))
            await asyncio.sleep(0.2)
            for _ in range(20):
                assert (await http.post(path(pair.other, "update"), json=DEPOSIT)).status_code == 200
                assert (await http.get(path(pair.other, "state"))).status_code == 200
                assert (await http.get("/healthz")).status_code == 200
            # All of that while those still wait: it holds nobody up.
            assert not any(call.done() for call in waiting)
            written, read, listed, batch = await asyncio.gather(*waiting)
        assert_problem(written, 503, "outcome-unknown")
        assert_problem(read, 503, "shard-unavailable")
        assert_problem(listed, 503, "shard-unavailable")
        outcomes = [(one["status"], one.get("problem", {}).get("code")) for one in batch.json()["results"]]
        assert outcomes == [(503, "outcome-unknown"), (200, None)]
        assert ready.status_code == 503
        assert f'portfolio_shard_answers{{shard="{pair.shard_id}"}} 0.0' in metrics.text
        assert list(ready.json()["failing"]) == [f"shard-{pair.shard_id}"]
        # Only the retry tells; either way each is booked once.
        async with asyncio.timeout(30):
            # It answers once Postgres has confirmed that nobody else owns the shard by now.
            while (
                again := await http.post(path(pair.disturbed, "update"), json=DEPOSIT, headers={"Idempotency-Key": "k"})
            ).status_code == 503:
                assert_problem(again, 503, "shard-unavailable")
                await asyncio.sleep(0.05)
        batch = await http.post(f"{API}/updates", json=both)
        assert again.status_code == 200
        assert [one["status"] for one in batch.json()["results"]] == [200, 200]
        assert exact(await http.get(path(pair.disturbed, "state")))["version"] == 3


async def test_who_waits_through_a_standstill_longer_than_the_lease_is_answered(
    service: RunningService, pair: Pair
) -> None:
    state = f"{API}/portfolio/{pair.disturbed}"
    both = [{"portfolio_id": pair.disturbed, "idempotency_key": key, **DEPOSIT} for key in ("b", "c")]
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as http:
        before = exact(await http.get(f"{state}/state"))["version"]
        with stopped(pair.shard_pid):
            waiting = [
                asyncio.create_task(call)
                for call in (
                    http.post(f"{state}/update", json=DEPOSIT, headers={"Idempotency-Key": "a"}),
                    http.get(f"{state}/state"),
                    http.get(f"{API}/portfolios"),
                    http.post(f"{API}/updates", json={"updates": both}),
                )
            ]
            await asyncio.sleep(Limits().lease_s + 1)
            assert not any(call.done() for call in waiting)
        written, read, listed, batch = await asyncio.gather(*waiting)
        assert [answer.status_code for answer in (written, read, listed)] == [200] * 3
        booked = [one["version"] for one in batch.json()["results"]]
        assert sorted([written.json()["version"], *booked]) == [before + 1, before + 2, before + 3]
        assert booked == sorted(booked)


async def test_a_shard_that_is_killed_loses_nothing_and_comes_back(service: RunningService, pair: Pair) -> None:
    """A writer with keys goes on through the kill, as the contract tells it to; every deposit is booked once."""
    count, killed_at = 60, 20
    refusals: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as http:
        for number in range(count):
            if number == killed_at:
                os.kill(pair.shard_pid, signal.SIGKILL)
            while True:
                answer = await http.post(
                    f"{API}/portfolio/{pair.disturbed}/update",
                    json=DEPOSIT,
                    headers={"Idempotency-Key": f"k-{number}"},
                )
                if answer.status_code == 200:
                    break
                code = answer.json()["code"]
                assert_problem(answer, 503, code)
                refusals[code] += 1
                assert (await http.get(f"{API}/portfolio/{pair.other}/state")).status_code == 200
                await asyncio.sleep(0.02)
        state = exact(await http.get(f"{API}/portfolio/{pair.disturbed}/state"))
    # A standby may be so quick that nobody was refused.
    assert pair.shard_pid not in shard_processes(service)
    assert refusals.keys() <= {"shard-unavailable", "outcome-unknown"}
    assert (state["version"], state["cash_balance"]) == (count + 1, count)


async def raw_post(port: int, path: str, body: bytes) -> httpx.Response:
    """POST on a connection of its own; a client's pool would not open thousands."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    top, _, content = answer.partition(b"\r\n\r\n")
    status, *lines = top.decode().split("\r\n")
    headers: dict[str, Any] = {}
    for line in lines:
        name, _, told = line.partition(": ")
        if name.lower() != "transfer-encoding":
            headers[name] = told
    return httpx.Response(int(status.split()[1]), headers=headers, content=content)


async def test_too_many_requests_are_refused_at_once(service: RunningService, pair: Pair) -> None:
    """Two thousand requests wait for a shard that hangs; more are refused, and whoever asks if we live is told."""
    port, path = int(service.base_url.rsplit(":", 1)[1]), f"{API}/portfolio/{pair.disturbed}/update"
    body = json.dumps(DEPOSIT).encode()
    with stopped(pair.shard_pid):
        asked = [asyncio.create_task(raw_post(port, path, body)) for _ in range(REQUESTS_MAX + 50)]
        async with asyncio.timeout(ADMITTED_WITHIN_S):
            while sum(call.done() for call in asked) < 50:
                await asyncio.sleep(0.01)
        late = await asyncio.gather(*(raw_post(port, path, body) for _ in range(50)))
        async with httpx.AsyncClient(base_url=service.base_url) as http:
            assert (await http.get("/healthz")).status_code == 200
        # All of that while those who came in still wait.
        waiting = [call for call in asked if not call.done()]
        assert len(waiting) == REQUESTS_MAX
        for refused in (*late, *(call.result() for call in asked if call.done())):
            assert_problem(refused, 429, "overloaded", limit=REQUESTS_MAX)
        first = await asyncio.gather(*waiting)
    assert Counter(answer.status_code for answer in first) == {503: REQUESTS_MAX}
    assert {answer.json()["code"] for answer in first} == {"outcome-unknown"}
