"""Finding the owner of a shard, and finding it again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import directory
from actors.directory import Directory
from actors.link_server import LinkServer
from actors.protocol import Endpoint, Method, PortfolioQuestion, pack
from actors.service import Service
from portfolio.errors import OutcomeUnknown, PortfolioNotFound, ShardUnavailable
from portfolio.ids import ShardId
from tests.oracles.memory_store import MemoryDatabase, MemoryJournal
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard, memory_shard

SECRET = b"s" * 32
SHARD = ShardId(0)
ASKING_FOR_1 = pack(PortfolioQuestion(portfolio(1)))


class Cluster:
    """One shard that can move, and how often its place was asked for."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.database = MemoryDatabase()
        self.endpoint: Endpoint | None = None
        self.asked = 0
        self.directory = Directory(self._locate, node_id="node", link_secret=SECRET)
        self._servers: list[LinkServer] = []

    async def _locate(self, shard_id: ShardId) -> Endpoint:
        self.asked += 1
        await asyncio.sleep(0)
        if self.endpoint is None:
            raise ShardUnavailable(f"shard {shard_id} is nowhere")
        return self.endpoint

    async def serve(self, running: RunningShard) -> None:
        """Have the shard listen at a new place."""
        server = LinkServer(Service(running.shard), SECRET, self._top / "links", "127.0.0.1")
        self._servers.append(server)
        path, port = await server.start()
        self.endpoint = Endpoint("node", str(path), "127.0.0.1", port, f"incarnation at {port}")

    async def leave(self) -> None:
        """Have the place it listened at disappear, and the link with it."""
        for server in self._servers:
            server.close()
        self.directory.close()
        await asyncio.sleep(0.01)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A cluster of one shard, which does not listen yet."""
    top = Path(tempfile.mkdtemp(prefix="portfolio-link-", dir="/tmp"))
    made = Cluster(top)
    try:
        yield made
    finally:
        await made.leave()
        shutil.rmtree(top)


async def test_calls_share_one_link_that_is_opened_once(cluster: Cluster) -> None:
    async with memory_shard(cluster.database) as running:
        await cluster.serve(running)
        await asyncio.gather(
            *(cluster.directory.call(SHARD, Method.OPEN, pack(opened(number))) for number in range(20))
        )
        assert cluster.asked == 1


async def test_errors_of_the_shard_are_raised(cluster: Cluster) -> None:
    async with memory_shard(cluster.database) as running:
        await cluster.serve(running)
        with pytest.raises(PortfolioNotFound):
            await cluster.directory.call(SHARD, Method.STATE, ASKING_FOR_1)


async def test_after_a_move_the_directory_finds_the_new_owner(cluster: Cluster) -> None:
    async with memory_shard(cluster.database) as first:
        await cluster.serve(first)
        await cluster.directory.call(SHARD, Method.OPEN, pack(opened(1)))
        await cluster.leave()
    async with memory_shard(cluster.database) as second:
        await cluster.serve(second)
        answer = await cluster.directory.call(SHARD, Method.STATE, ASKING_FOR_1)
        assert b'"P-1"' in (answer.body or b"")
        assert cluster.asked == 2


async def test_a_write_under_way_when_the_link_is_lost_is_unknown_and_its_retry_finds_out(cluster: Cluster) -> None:
    async with memory_shard(cluster.database) as running:
        await cluster.serve(running)
        assert isinstance(running.journal, MemoryJournal)
        await cluster.directory.call(SHARD, Method.OPEN, pack(opened(1)))
        running.journal.gate.clear()
        write = asyncio.ensure_future(cluster.directory.call(SHARD, Method.UPDATE, pack(updated(1, key="k"))))
        await asyncio.sleep(0.02)
        cluster.directory.close()
        with pytest.raises(OutcomeUnknown):
            await write
        running.journal.gate.set()
        again = await cluster.directory.call(SHARD, Method.UPDATE, pack(updated(1, key="k")))
        assert again.replayed
        assert b'"version":2' in (again.body or b"")


async def test_a_shard_that_cannot_be_found_is_not_asked_for_by_everybody(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LOCATE_PAUSE_S", 60.0)
    calls = (cluster.directory.call(SHARD, Method.STATE, ASKING_FOR_1) for _ in range(50))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ShardUnavailable}
    assert cluster.asked == 1


async def test_a_shard_that_comes_back_is_found_after_a_moment(cluster: Cluster) -> None:
    with pytest.raises(ShardUnavailable):
        await cluster.directory.call(SHARD, Method.STATE, ASKING_FOR_1)
    async with memory_shard(cluster.database) as running:
        await cluster.serve(running)
        await asyncio.sleep(0.25)
        await cluster.directory.call(SHARD, Method.OPEN, pack(opened(1)))
