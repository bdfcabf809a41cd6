"""The mirror and the event stream in a real Valkey, also one that is killed under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import uvloop
from redis import Redis

from persistence.embedded.valkey import EmbeddedValkey
from persistence.redis_mirror import STREAM, RedisMirror
from portfolio.entries import derived_id
from portfolio.ids import PortfolioId, ShardId
from portfolio.ports import Fence, MirrorUnavailable, Picture
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy, deposit
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, eventually, postgres_shard
from tests.support.tcp_proxy import tcp_proxy

FENCE = Fence(ShardId(0), 1)
TTLS_S = {"state": 300, "positions": 60, "weights": 300}
_TIMEOUT = "persistence.redis_mirror._TIMEOUT_S"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a moment is no Redis that is away; tests of how long it may take set their own."""
    monkeypatch.setattr(_TIMEOUT, 10.0)


@pytest.fixture
def own_valkey(servers_dir: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey for a test that kills it."""
    with EmbeddedValkey(servers_dir / "valkey-to-kill") as server:
        yield server


@pytest.fixture
def valkey(redis_url: str) -> Iterator[Redis]:
    """A reader of the mirror."""
    with Redis.from_url(redis_url) as client:
        yield client


@contextlib.asynccontextmanager
async def _mirrored(dsn: str, url: str, **limits: int | float) -> AsyncIterator[RunningShard]:
    mirror = RedisMirror(url)
    try:
        async with postgres_shard(dsn, mirror=mirror, limits=replace(FAST, **limits)) as running:  # type: ignore[arg-type]
            yield running
    finally:
        await mirror.close()


async def _kill(server: EmbeddedValkey) -> None:
    """Kill a server, and wait until it is dead, or the next start would take it for one of an earlier run."""
    assert server.pid is not None
    psutil.Process(server.pid).kill()
    await eventually(lambda: server.pid is None)


def _stream(client: Redis) -> list[dict[str, Any]]:
    rows: Any = client.xrange(STREAM)
    return [json.loads(fields[b"event"]) for _, fields in rows]


def _versions(events: list[dict[str, Any]], number: int, last: int) -> list[int]:
    """The versions that the events of a portfolio announce, in the stream's order."""
    ids = {str(derived_id(portfolio(number), version)): version for version in range(1, last + 1)}
    name = portfolio(number)
    return [ids[event["event_id"]] for event in events if event["portfolio_state_updated"]["portfolio_id"] == name]


async def test_keys_hold_what_rest_answers_for_as_long_as_the_contract_says(
    database: str, redis_url: str, valkey: Redis
) -> None:
    async with _mirrored(database, redis_url) as running:
        await running.book(opened(1, cash="100"))
        await running.book(updated(1, buy("3", "7")))
        await eventually(lambda: b'"version":3' in (valkey.get("portfolio:P-1:state") or b""))
        documents = running.shard.books.documents(portfolio(1))
        assert valkey.get("portfolio:P-1:state") == documents.state
        assert valkey.get("portfolio:P-1:positions") == documents.positions
        assert valkey.get("portfolio:P-1:weights") == documents.weights
        for part, seconds in TTLS_S.items():
            left: Any = valkey.ttl(f"portfolio:P-1:{part}")
            assert seconds - 5 <= left <= seconds


async def test_an_event_says_what_the_contract_says(database: str, redis_url: str, valkey: Redis) -> None:
    async with _mirrored(database, redis_url) as running:
        await running.book(opened(1, cash="100"))
        await running.book(updated(1, buy("0.00000001", "7"), buy("3", "7")))
        await eventually(lambda: running.shard.status().announced_seq == 4)
    rows: Any = valkey.xrange(STREAM)
    assert [list(fields) for _, fields in rows] == [[b"event"], [b"event"]]
    event = json.loads(rows[1][1][b"event"], parse_float=str)
    assert list(event) == ["event_id", "timestamp", "portfolio_state_updated"]
    assert event["event_id"] == str(derived_id(portfolio(1), 4))
    said = event["portfolio_state_updated"]
    last_updated = said.pop("last_updated")
    assert len(last_updated) == len("2025-06-21T10:00:00.000000Z")
    assert said == {
        "portfolio_id": "P-1",
        "total_value": "100.00",
        "cash_balance": "79.00",
        "positions": [
            {
                "instrument_id": "X",
                "quantity": "3.00000001",
                "market_value": "21.00",
                "weight": "0.210000",
                "unrealized_pnl": "0.00",
            }
        ],
    }


async def test_a_killed_valkey_fails_and_slows_no_write_and_catches_up(
    database: str, own_valkey: EmbeddedValkey, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_TIMEOUT, 5.0)
    slowest_s = 0.0

    async def write(running: RunningShard, number: int, turns: int) -> None:
        nonlocal slowest_s
        loop = asyncio.get_running_loop()
        for _ in range(turns):
            began = loop.time()
            await running.book(updated(number))
            slowest_s = max(slowest_s, loop.time() - began)
            await asyncio.sleep(0.001)

    async with _mirrored(database, own_valkey.url) as running:
        for number in range(5):
            await running.book(opened(number))
        load = asyncio.gather(*(write(running, number, 120) for number in range(5)))
        await eventually(lambda: inspector.one("select max(version) from journal") > 20)
        await _kill(own_valkey)
        await asyncio.wait_for(load, 30)
        await eventually(lambda: not running.shard.status().is_mirror_reachable)
        assert running.shard.status().events_pending > 0
        # The mirror's own timeout is five seconds; no write may have waited for it.
        assert slowest_s < 4.5
        await asyncio.to_thread(own_valkey.start)
        await eventually(lambda: running.shard.status().announced_seq == 605)
        with Redis.from_url(own_valkey.url) as client:
            await eventually(
                lambda: client.get("portfolio:P-4:state") == running.shard.books.documents(portfolio(4)).state
            )
            events = _stream(client)
        for number in range(5):
            versions = _versions(events, number, 121)
            # What the killed server had is gone with it. The rest came in order, and the last is there.
            assert versions == sorted(versions)
            assert versions[-1] == 121
        await eventually(lambda: running.shard.status().is_mirror_reachable)


async def test_a_valkey_that_comes_back_empty_is_shown_what_did_not_change_too(
    database: str, own_valkey: EmbeddedValkey
) -> None:
    async with _mirrored(database, own_valkey.url, mirror_look_interval_s=0.05) as running:
        for number in range(150):
            await running.book(opened(number))
        await eventually(lambda: running.shard.status().announced_seq == 150)
        await _kill(own_valkey)
        await asyncio.to_thread(own_valkey.start)
        with Redis.from_url(own_valkey.url) as client:
            await eventually(lambda: len(client.keys("portfolio:*:state")) == 150)


async def test_a_silent_valkey_slows_no_write(
    database: str, own_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_TIMEOUT, 5.0)
    async with _mirrored(database, own_valkey.url) as running:
        await running.book(opened(1))
        assert own_valkey.pid is not None
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            for number in range(2, 60):
                # Less than the mirror's own timeout.
                async with asyncio.timeout(4.5):
                    await running.book(opened(number))
            await eventually(lambda: not running.shard.status().is_mirror_reachable)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await eventually(lambda: running.shard.status().announced_seq == 59)


async def test_beyond_the_bound_the_last_version_of_each_is_announced(
    database: str, own_valkey: EmbeddedValkey
) -> None:
    async with _mirrored(database, own_valkey.url, pending_events_max=20) as running:
        await _kill(own_valkey)
        for number in range(3):
            await running.book(opened(number))
            for _ in range(30):
                await running.book(updated(number))
            assert running.shard.status().events_pending <= 21
        await asyncio.to_thread(own_valkey.start)
        await eventually(lambda: running.shard.status().announced_seq == 93)
        with Redis.from_url(own_valkey.url) as client:
            events = _stream(client)
    for number in range(3):
        versions = _versions(events, number, 31)
        assert versions == sorted(versions)
        assert versions[-1] == 31
    assert len(events) < 60


async def test_events_not_yet_announced_before_a_crash_are_announced_after_it(
    database: str, redis_url: str, valkey: Redis
) -> None:
    async with _mirrored(database, redis_url) as running:
        for number in range(3):
            await running.book(opened(number))
        await eventually(lambda: running.shard.status().announced_seq == 3)
        await running.book(updated(1))
        await running.book(updated(1))
        await eventually(lambda: running.shard.status().announced_seq == 5)
    before = _stream(valkey)
    async with _mirrored(database, redis_url) as again:
        await eventually(lambda: again.shard.status().events_pending == 0)
        # No checkpoint had noted what was announced: the last version of each comes again, with the same id.
        repeated = _stream(valkey)[len(before) :]
        assert [_versions(repeated, number, 3) for number in range(3)] == [[1], [3], [1]]
        assert {event["event_id"] for event in repeated} <= {event["event_id"] for event in before}
        await again.stop()
    async with _mirrored(database, redis_url) as third:
        await eventually(lambda: third.shard.status().announced_seq == 5)
        assert len(_stream(valkey)) == len(before) + len(repeated)


async def test_a_shard_shows_what_the_mirror_missed_when_it_starts(
    database: str, redis_url: str, valkey: Redis
) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
    assert valkey.get("portfolio:P-1:state") is None
    async with _mirrored(database, redis_url) as again:
        await eventually(lambda: valkey.get("portfolio:P-1:state") is not None)
        assert valkey.get("portfolio:P-1:state") == again.shard.books.documents(portfolio(1)).state


async def test_the_guard_outlives_what_it_guards(redis_url: str, valkey: Redis) -> None:
    mirror = RedisMirror(redis_url)
    await mirror.show([Picture(PortfolioId("P"), 5, 0, b"new", b"new", b"new")])
    valkey.delete("portfolio:P:state", "portfolio:P:positions", "portfolio:P:weights")
    await mirror.show([Picture(PortfolioId("P"), 4, 0, b"old", b"old", b"old")])
    assert valkey.get("portfolio:P:state") is None
    left: Any = valkey.ttl("portfolio:P:version")
    assert left > max(TTLS_S.values())
    await mirror.close()


async def test_a_server_that_forgot_the_script_learns_it_again(redis_url: str, valkey: Redis) -> None:
    mirror = RedisMirror(redis_url)
    await mirror.show([Picture(PortfolioId("P"), 1, 0, b"1", b"1", b"1")])
    valkey.script_flush()
    await mirror.show([Picture(PortfolioId("P"), 2, 0, b"2", b"2", b"2")])
    assert valkey.get("portfolio:P:state") == b"2"
    await mirror.close()


async def test_a_server_that_refuses_writes_is_unavailable(own_valkey: EmbeddedValkey) -> None:
    mirror = RedisMirror(own_valkey.url)
    with Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(MirrorUnavailable):
            await mirror.show([Picture(PortfolioId("P"), 1, 0, b"1", b"1", b"1")])
        with pytest.raises(MirrorUnavailable):
            await mirror.announce([b"event"], FENCE)
        client.config_set("maxmemory", "0")
        await mirror.announce([b"event"], FENCE)
        assert client.xlen(STREAM) == 1
    await mirror.close()


async def test_an_announcement_is_whole_or_not_there(own_valkey: EmbeddedValkey) -> None:
    mirror = RedisMirror(own_valkey.url)
    with Redis.from_url(own_valkey.url) as client:
        client.set(STREAM, "not a stream")
        with pytest.raises(MirrorUnavailable):
            await mirror.announce([b"1", b"2"], FENCE)
        client.delete(STREAM)
        await mirror.announce([b"1", b"2"], FENCE)
        assert client.xlen(STREAM) == 2
    await mirror.close()


async def test_numbers_of_any_size_are_shown_in_plain_digits(database: str, redis_url: str, valkey: Redis) -> None:
    async with _mirrored(database, redis_url) as running:
        await running.book(opened(1))
        await running.book(updated(1, deposit("999999999999.99"), buy("0.00000001", "123456789012.12345678")))
        # Announcing and showing wait for nobody: the version before may still be shown when this one is announced.
        await eventually(lambda: b'"version":3' in (valkey.get("portfolio:P-1:state") or b""))
        raw: Any = valkey.get("portfolio:P-1:positions")
        (held, _) = json.loads(raw, parse_float=Decimal)
        assert held["mark_price"] == Decimal("123456789012.12345678")
        assert b"0.00000001" in raw
        assert b"E-" not in raw


def test_connections_that_are_reset_are_unavailable_and_replaced_on_the_loop_that_shards_run_on(
    servers_dir: Path,
) -> None:
    """uvloop calls a connection that was reset a closed handle, which redis-py does not know for a lost connection."""

    async def announce_through_resets(server: EmbeddedValkey) -> tuple[int, int]:
        address = urlsplit(server.url)
        with Redis.from_url(server.url) as client:
            port = int(client.config_get("port")["port"])
        async with tcp_proxy("127.0.0.1", port) as proxy:
            mirror = RedisMirror(f"redis://:{address.password}@127.0.0.1:{proxy.port}/0")
            announced = refused = 0
            for turn in range(200):
                if turn % 5 == 0:
                    proxy.reset()
                    # Time for the loop to hear of the reset before the connection is used again.
                    await asyncio.sleep(0.005)
                try:
                    await mirror.announce([b"event"], FENCE)
                    announced += 1
                except MirrorUnavailable:
                    refused += 1
            await mirror.close()
        return announced, refused

    with (
        EmbeddedValkey(servers_dir / "valkey-to-reset", listen_tcp=True) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        announced, refused = runner.run(announce_through_resets(server))
    assert refused >= 10
    assert announced >= 100
