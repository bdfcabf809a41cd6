"""Moves of shards between nodes, and into fresh processes, while they serve."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import ray
from ray.exceptions import RayError

from actors.names import actor_name, generation_of, names_of
from actors.protocol import Endpoint, unpack_answer
from actors.settings import ShardConfig
from cluster.patience import Backoff, Patience
from cluster.placement import actor_names, place
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app.finding import find_shard

_READY_TIMEOUT_S: Final = 120.0
_HAND_OVER_TIMEOUT_S: Final = 60.0
SILENCE: Final = Patience(total_s=20.0, pause_first_s=0.2, pause_max_s=0.2)
"""Of whoever gives an order, with an owner that for a while says nothing."""
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
    owner = await owner_of(shard_id)
    config: ShardConfig = await owner.config.remote()
    source: Endpoint = await owner.endpoint.remote()
    name = actor_name(shard_id, await asyncio.to_thread(_next_generation, shard_id))
    heir = await stand_by(replace(config, actor=name), node_id or source.node_id)
    async with asyncio.timeout(_HAND_OVER_TIMEOUT_S):
        answer = unpack_answer(await owner.hand_over.remote(name))
    if answer.fault is not None:
        # The owner goes on, so nobody means this one to own the shard.
        ray.kill(heir, no_restart=True)
    paused_s = _SECONDS.decode(answer.raised().body or b"")
    target: Endpoint = await heir.endpoint.remote()
    return Moved(shard_id=shard_id, source=source.node_id, target=target.node_id, paused_s=paused_s)


async def owner_of(shard_id: ShardId) -> Any:
    """The handle of the actor that owns a shard, which may be silent for a while. Raises ShardUnavailable."""
    backoff = Backoff(SILENCE)
    while True:
        try:
            return await find_shard(shard_id)
        except ShardUnavailable as error:
            if "moving" not in error.cause:
                raise
            await backoff.pause(error)


def _next_generation(shard_id: ShardId) -> int:
    """One that no actor has: a successor that an earlier move forgot may be elsewhere, or run other code."""
    return 1 + max(map(generation_of, names_of(shard_id, actor_names())), default=0)


async def stand_by(config: ShardConfig, node_id: str | None = None) -> Any:
    """A new actor that is ready to own a shard once Postgres means it to. Raises RayError or TimeoutError."""
    heir: Any = place(replace(config, is_successor=True), node_id=node_id)
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await heir.ready.remote()
    except BaseException:
        ray.kill(heir, no_restart=True)
        raise
    return heir
