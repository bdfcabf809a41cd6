"""Settings of the property tests here: as those of the core, and shards in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.service import Service
from tests.oracles.memory_store import MemoryDatabase
from tests.support.shards import RunningShard, memory_shard


@pytest.fixture
async def running() -> AsyncIterator[RunningShard]:
    """The one shard of a database in memory."""
    async with memory_shard(MemoryDatabase()) as shard:
        yield shard


@pytest.fixture
def service(running: RunningShard) -> Service:
    """What answers for that shard."""
    return Service(running.shard)
