"""Finds the actor that owns a shard, by the names of the actors that there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

from actors.names import NAMESPACE, names_of
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId

_ASK_TIMEOUT_S: Final = 1.0


async def find_shard(shard_id: ShardId) -> Any:
    """The handle of the actor that owns a shard or is to own it. Raises ShardUnavailable."""
    try:
        # Both are blocking calls to the head node.
        candidates = await asyncio.to_thread(_candidates, shard_id)
    except (RayError, OSError) as error:
        raise ShardUnavailable(f"shard {shard_id} cannot be looked up: {error}", shard=shard_id) from error
    if not candidates:
        raise ShardUnavailable(f"shard {shard_id} is not running", shard=shard_id)
    if len(candidates) == 1:
        return candidates[0]
    return await _owner_among(shard_id, candidates)


def _candidates(shard_id: ShardId) -> list[Any]:
    # Of all namespaces, since a Serve replica works in another one than the shards.
    named = [found["name"] for found in list_named_actors(all_namespaces=True) if found["namespace"] == NAMESPACE]
    handles: list[Any] = []
    for name in names_of(shard_id, named):
        try:
            handles.append(ray.get_actor(name, NAMESPACE))
        except ValueError:
            # It has ended since the list was made.
            continue
    return handles


async def _owner_among(shard_id: ShardId, candidates: Sequence[Any]) -> Any:
    answers = await asyncio.gather(*map(_is_owner, candidates))
    for handle, is_owner in zip(candidates, answers, strict=True):
        if is_owner:
            return handle
    raise ShardUnavailable(f"shard {shard_id} is on the move", shard=shard_id, moving=True)


async def _is_owner(handle: Any) -> bool:
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            return bool(await handle.is_owner.remote())
    except (RayError, TimeoutError):
        return False
