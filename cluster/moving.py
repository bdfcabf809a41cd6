"""Moves of shards between nodes, and into fresh processes, while they serve."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import ray
from ray.exceptions import RayError

from actors.names import actor_name, generation_of
from actors.protocol import Endpoint, unpack_answer
from actors.settings import ShardConfig
from cluster.placement import place
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app.finding import find_shard

_READY_TIMEOUT_S: Final = 120.0
_HAND_OVER_TIMEOUT_S: Final = 60.0
_SECONDS: Final = msgspec.msgpack.Decoder(float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A move that is complete. `paused_s` is how long the shard served nobody."""

    shard_id: ShardId
    source: str
    target: str
    paused_s: float


async def move(shard_id: ShardId, node_id: str | None = None) -> Moved:
    """Have a shard served by a new process, on `node_id` (None: on the node where it is).

    The new one reads ahead while the old one serves, then takes over. Raises ShardUnavailable if it cannot be done now:
    the shard is then served as before.
    """
    try:
        return await _move(shard_id, node_id)
    except (RayError, TimeoutError) as error:
        raise ShardUnavailable(f"the move of shard {shard_id} was interrupted: {error}", shard=shard_id) from error


async def _move(shard_id: ShardId, node_id: str | None) -> Moved:
    owner = await find_shard(shard_id)
    config: ShardConfig = await owner.config.remote()
    source: Endpoint = await owner.endpoint.remote()
    heir_config = replace(config, actor=actor_name(shard_id, generation_of(config.actor) + 1), is_successor=True)
    heir: Any = place(heir_config, node_id=node_id or source.node_id)
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await heir.ready.remote()
    except BaseException:
        ray.kill(heir, no_restart=True)
        raise
    async with asyncio.timeout(_HAND_OVER_TIMEOUT_S):
        answer = unpack_answer(await owner.hand_over.remote(heir_config.actor)).raised()
    target: Endpoint = await heir.endpoint.remote()
    return Moved(
        shard_id=shard_id,
        source=source.node_id,
        target=target.node_id,
        paused_s=_SECONDS.decode(answer.body or b""),
    )
