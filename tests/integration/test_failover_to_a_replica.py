"""Postgres fails over to a replica that lacks acknowledged commits: the shard stops rather than go on as if nothing was."""

from __future__ import annotations

import asyncio

import pytest

from persistence.migrate import set_up_cluster
from portfolio.errors import Corrupt, OutcomeUnknown
from tests.integration.conftest import Inspector
from tests.oracles.rows import opened, updated
from tests.support.shards import RunningShard, postgres_shard


async def _behind(running: RunningShard, inspector: Inspector) -> None:
    """The same database as a replica that was behind has it: without the last row, and with every connection cut."""
    # A checkpoint under way would hold the row that is changed below, and wait for this loop meanwhile.
    await running.save()
    await running.book(opened(1, cash="10"))
    (kept,) = inspector.rows("select head_seq, head_hash from shards")
    await running.book(updated(1))
    inspector.do("delete from journal where seq > %s", kept[0])
    inspector.do("update shards set head_seq = %s, head_hash = %s", *kept)
    inspector.end_backends()


async def test_a_write_after_the_failover_stops_the_shard(database: str, inspector: Inspector) -> None:
    await asyncio.to_thread(set_up_cluster, database, 1)
    async with postgres_shard(database) as running:
        await _behind(running, inspector)
        with pytest.raises(OutcomeUnknown, match="the shard stopped during the commit"):
            await running.book(updated(1))
        stopped = await running.stopped()
    assert isinstance(stopped, Corrupt)
    assert "the journal ends at row 2, expected 3 or 4" in str(stopped)
