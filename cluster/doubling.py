"""Doubles the number of shards while they serve: each splits into itself and a new one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from ray.exceptions import RayError

from actors.names import actor_name
from actors.protocol import unpack_answer
from actors.settings import ShardConfig
from cluster.moving import owner_of, stand_by
from cluster.placement import place
from persistence.migrate import begin_doubling, finish_doubling
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from portfolio.sharding import sibling_of
from serve_app.finding import any_config

_SPLIT_TIMEOUT_S: Final = 60.0
_SECONDS: Final = msgspec.msgpack.Decoder(float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split that is complete, and for how long each half was not served."""

    shard_id: ShardId
    sibling: ShardId
    paused_s: float
    sibling_paused_s: float


async def double(count: int, report: Callable[[Split], None]) -> None:
    """Split every shard until there are `count`, which is twice their number now; what is so already stays.

    A shard splits in one transaction or not at all, so what was interrupted is gone on with by asking for the same again.
    Raises ValueError or ShardUnavailable.
    """
    try:
        await _double(count, report)
    except (RayError, TimeoutError) as error:
        raise ShardUnavailable(f"the doubling was interrupted, and can be gone on with: {error}") from error


async def _double(count: int, report: Callable[[Split], None]) -> None:
    dsn = (await any_config()).postgres_dsn
    cluster = await asyncio.to_thread(begin_doubling, dsn, count)
    if cluster.shard_count == count:
        return
    if cluster.doubling_to != count:
        raise ValueError(
            f"there are {cluster.shard_count} shards, which can become {2 * cluster.shard_count}, not {count}"
        )
    placed = {shard.shard_id: shard for shard in cluster.shards}
    for number in range(cluster.shard_count):
        shard_id, sibling = ShardId(number), sibling_of(ShardId(number), cluster.shard_count)
        config, known = replace(await _config(shard_id), shard_id=sibling), placed.get(sibling)
        if known is None:
            heir = await stand_by(replace(config, actor=actor_name(sibling)))
            report(await _split(shard_id, cluster.shard_count, heir))
        else:
            # Whoever split it off may have been ended before it had an actor.
            place(replace(config, actor=known.actor or actor_name(sibling), is_successor=True))
    await asyncio.to_thread(finish_doubling, dsn)


async def _config(shard_id: ShardId) -> ShardConfig:
    config: ShardConfig = await (await owner_of(shard_id)).config.remote()
    return config


async def _split(shard_id: ShardId, count: int, heir: Any) -> Split:
    owner = await owner_of(shard_id)
    async with asyncio.timeout(_SPLIT_TIMEOUT_S):
        answer = unpack_answer(await owner.split.remote(2 * count)).raised()
        split_at = time.monotonic()
        await heir.take_over.remote()
    paused_s = _SECONDS.decode(answer.body or b"")
    return Split(
        shard_id=shard_id,
        sibling=sibling_of(shard_id, count),
        paused_s=paused_s,
        sibling_paused_s=paused_s + time.monotonic() - split_at,
    )
