"""`verify` beside shards that serve: it finds nothing, whatever was booked and however much is being booked meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from redis import Redis

from actors.gateway import Gateway
from actors.protocol import Answer, Method
from actors.service import Service
from cluster.verifying.findings import Kind
from cluster.verifying.report import Report
from cluster.verifying.sources import Sources
from cluster.verifying.verification import verify
from persistence.mirror_reader import MirrorReader
from persistence.redis_mirror import RedisMirror
from portfolio.book import Mark
from portfolio.ids import ShardId
from portfolio.sharding import ShardMap, shard_of
from tests.integration.conftest import Inspector
from tests.integration.test_recovery import FEW, Event, live, lives
from tests.oracles.builders import X, buy
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, eventually, postgres_shard

PORTFOLIOS = 30


@dataclass(slots=True)
class LocalCaller:
    """Calls shards of this process, as a link would."""

    services: Mapping[ShardId, Service]

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        return (await self.services[shard_id].answer(method, payload)).raised()


def gateway_of(*shards: RunningShard) -> Gateway:
    """The shards behind one face."""
    services = {running.shard.shard_id: Service(running.shard) for running in shards}
    return Gateway(LocalCaller(services), ShardMap.even(len(services)))


@contextlib.asynccontextmanager
async def two_shards(dsn: str, url: str) -> AsyncIterator[Mapping[ShardId, RunningShard]]:
    """Both shards of a cluster, with a mirror, and checkpoints all the time."""
    limits = replace(FAST, checkpoint_interval_s=0.02)
    async with contextlib.AsyncExitStack() as stack:
        shards = {}
        for number in range(2):
            mirror = RedisMirror(url)
            stack.push_async_callback(mirror.close)
            shards[ShardId(number)] = await stack.enter_async_context(
                postgres_shard(dsn, shard_id=number, shard_count=2, mirror=mirror, limits=limits)
            )
        yield shards


async def _verified(dsn: str, url: str | None, *shards: RunningShard) -> Report:
    mirror = MirrorReader(url) if url else None
    try:
        sources = Sources(postgres_dsn=dsn, owners=gateway_of(*shards), mirror=mirror, settle_s=30.0)
        return await verify(sources, deep=True)
    finally:
        if mirror is not None:
            await mirror.close()


async def test_it_is_clean_while_shards_write_save_and_mirror(database: str, redis_url: str) -> None:
    async with two_shards(database, redis_url) as shards:

        def shard(number: int) -> RunningShard:
            return shards[shard_of(portfolio(number), 2)]

        for number in range(PORTFOLIOS):
            await shard(number).book(opened(number, cash="1000", key="open"))
        is_over = False

        async def write(first: int) -> None:
            turn = 0
            while not is_over:
                turn += 1
                for number in range(first, PORTFOLIOS, 3):
                    await shard(number).book(updated(number, buy("1", "2"), buy("3", "4"), key=f"{turn}"))

        async def mark() -> None:
            while not is_over:
                price = Mark(Decimal("5.00000000"), datetime.now(UTC) + timedelta(seconds=60))
                await shards[ShardId(0)].shard.record_marks({X: price})
                for running in shards.values():
                    running.shard.show_marks({X: price})
                await asyncio.sleep(0.02)

        writers = [asyncio.ensure_future(job) for job in (write(0), write(1), write(2), mark())]
        for _ in range(4):
            report = await _verified(database, redis_url, *shards.values())
            assert [str(found) for found in report.findings.kept] == []
            assert (report.exit_status, report.counts.memory) == (0, PORTFOLIOS)
        is_over = True
        await asyncio.gather(*writers)
        report = await _verified(database, redis_url, *shards.values())
        assert report.exit_status == 0
        assert report.counts.mirror == report.counts.documents == PORTFOLIOS


async def test_a_wrong_value_that_the_owner_does_not_correct_is_named(database: str, redis_url: str) -> None:
    async with two_shards(database, redis_url) as shards:
        running = shards[shard_of(portfolio(1), 2)]
        await running.book(opened(1, cash="10"))
        with Redis.from_url(redis_url) as valkey:
            await eventually(lambda: valkey.get("portfolio:P-1:state") is not None)
            shown = valkey.get("portfolio:P-1:state")
            assert isinstance(shown, bytes)
            valkey.set("portfolio:P-1:state", shown.replace(b'"cash_balance":10.00', b'"cash_balance":11.00'))
        report = await _verified(database, redis_url, *shards.values())
        assert [str(found) for found in report.findings.kept] == [
            f"mirror-differs: shard {running.shard.shard_id}, P-1: state.cash_balance is 11.00, expected 10.00"
        ]


@FEW
@given(events=lives())
async def test_whatever_was_booked_is_consistent(database: str, inspector: Inspector, events: list[Event]) -> None:
    inspector.forget_everything()
    async with postgres_shard(database) as running:
        await live(running, events)
        running.shard.books.revalue()
        report = await _verified(database, None, running)
    assert [str(found) for found in report.findings.kept] == []
    assert report.counts.memory == report.counts.documents == len(running.shard.books)


def test_every_kind_of_difference_says_where_it_was_found() -> None:
    places = ("journal-", "checkpoint-", "memory-", "document-", "mirror-", "quarantined")
    assert all(kind.startswith(places) for kind in Kind)
