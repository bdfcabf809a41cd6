"""Analytics in Redis: what replaces what, what is found, and what a Redis that is away costs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from persistence import analytics_cache
from persistence.analytics_cache import ANALYTICS_TTL_S, Figures, RedisAnalyticsCache
from persistence.embedded.valkey import EmbeddedValkey
from portfolio.ids import PortfolioId

FIGURES = Figures(
    portfolio_id=PortfolioId("P"), version=9, revaluation=10**20, generation=5, terms="ab12", is_usual=True
)


@pytest.fixture
async def cache(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisAnalyticsCache]:
    # A machine that stands still for a moment would pass for a Redis that is away.
    monkeypatch.setattr(analytics_cache, "TIMEOUT_S", 10.0)
    monkeypatch.setattr(analytics_cache, "_SOCKET_TIMEOUT_S", 100.0)
    cache = RedisAnalyticsCache(redis_url)
    yield cache
    await cache.close()


async def test_what_was_kept_is_found_under_its_own_place_alone(cache: RedisAnalyticsCache) -> None:
    assert await cache.find(FIGURES) is None
    await cache.keep(FIGURES, b"document")
    assert await cache.find(FIGURES) == b"document"
    others = (
        replace(FIGURES, version=10),
        replace(FIGURES, revaluation=0),
        replace(FIGURES, generation=6),
        replace(FIGURES, terms="cd34"),
        replace(FIGURES, portfolio_id=PortfolioId("Q")),
    )
    for other in others:
        assert await cache.find(other) is None


@pytest.mark.parametrize(
    "newer",
    [replace(FIGURES, version=10), replace(FIGURES, revaluation=10**20 + 1), replace(FIGURES, generation=6)],
    ids=["version", "revaluation", "generation"],
)
async def test_an_older_document_never_replaces_a_newer_one(
    cache: RedisAnalyticsCache, redis_url: str, newer: Figures
) -> None:
    await cache.keep(newer, b"newer")
    await cache.keep(FIGURES, b"older")
    assert await cache.find(newer) == b"newer"
    with Redis.from_url(redis_url) as redis:
        # Nor when the newer one has expired.
        redis.delete("portfolio:P:analytics")
        await cache.keep(FIGURES, b"older")
        assert redis.get("portfolio:P:analytics") is None


async def test_the_usual_terms_lie_under_the_known_key_also_when_they_have_changed(
    cache: RedisAnalyticsCache, redis_url: str
) -> None:
    await cache.keep(FIGURES, b"usual")
    await cache.keep(replace(FIGURES, terms="cd34", is_usual=False), b"others")
    with Redis.from_url(redis_url) as redis:
        assert redis.get("portfolio:P:analytics") == b"usual"
        assert redis.get("portfolio:P:analytics:cd34") == b"others"
        assert 0 < redis.ttl("portfolio:P:analytics") <= ANALYTICS_TTL_S
    renamed = replace(FIGURES, terms="0001")
    assert await cache.find(renamed) is None
    await cache.keep(renamed, b"on other usual terms")
    assert await cache.find(renamed) == b"on other usual terms"


async def test_a_silent_redis_costs_a_moment_once_and_is_used_again_when_it_answers(
    servers_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytics_cache, "REST_S", 1.0)
    with EmbeddedValkey(servers_dir / "valkey-to-stop") as server:
        cache = RedisAnalyticsCache(server.url)
        # On a busy machine a Redis that is there may pass for one that is away.
        async with asyncio.timeout(30):
            while await cache.find(FIGURES) is None:
                await cache.keep(FIGURES, b"document")
                await asyncio.sleep(0.05)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            # Two hundred calls, each of which would take TIMEOUT_S.
            for _ in range(100):
                assert await cache.find(FIGURES) is None
                await cache.keep(FIGURES, b"document")
            assert time.monotonic() - began < 5
        finally:
            os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            while (found := await cache.find(FIGURES)) is None:
                await asyncio.sleep(0.05)
        assert found == b"document"
        await cache.close()


async def test_many_who_ask_at_once_all_find_it(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics_cache, "TIMEOUT_S", 5.0)
    cache = RedisAnalyticsCache(redis_url)
    await cache.keep(FIGURES, b"document")
    assert await asyncio.gather(*(cache.find(FIGURES) for _ in range(100))) == [b"document"] * 100
    await cache.close()


async def test_where_no_redis_is_nothing_is_found_and_nothing_fails() -> None:
    cache = RedisAnalyticsCache("redis://127.0.0.1:9/0")
    await cache.keep(FIGURES, b"document")
    assert await cache.find(FIGURES) is None
    await cache.close()
