"""A second owner, as a network that has come apart would make one: a process that claims a shard behind the service's back.

Nobody knows where it listens, and it ends without letting go of the shard. It never outlives its time, whoever started it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from tests.support.shards import postgres_shard

START_TIMEOUT_S: Final = 20.0
CLAIMED: Final = "claimed"


async def own(dsn: str, shard_id: int, shard_count: int, for_s: float) -> None:
    """Claim the shard, say so, serve for a while, and die as a killed process does."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            shard = await postgres_shard(dsn, shard_id=shard_id, shard_count=shard_count).__aenter__()
        sys.stdout.write(f"{CLAIMED} at epoch {shard.journal.epoch}\n")
        sys.stdout.flush()
        await asyncio.sleep(for_s)
    finally:
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(own(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
