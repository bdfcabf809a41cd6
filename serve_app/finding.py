"""Finds the actor that owns a shard, by the names of the actors that there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

from actors.names import NAMESPACE, names_of, standbys_among
from actors.settings import Surroundings
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId

_ASK_TIMEOUT_S: Final = 1.0
_GRACE_S: Final = 0.02


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


async def any_config() -> Surroundings:
    """Where any shard that answers keeps its data. Raises ShardUnavailable if none answers, or Ray does not."""
    try:
        handles = await asyncio.to_thread(lambda: _handles(_names()))
    except (RayError, OSError) as error:
        raise ShardUnavailable(f"shards cannot be looked up: {error}") from error
    for handle in handles:
        try:
            async with asyncio.timeout(_ASK_TIMEOUT_S):
                config: Surroundings = await handle.config.remote()
                return config
        except (RayError, TimeoutError):
            continue
    raise ShardUnavailable("no shard answers")


def _candidates(shard_id: ShardId) -> list[Any]:
    """The standbys, one of which may have taken the shard over, then the shard's own actors, the newest first.

    An actor that owns the shard no more may not know it yet, so of several the one that has come later is believed: a
    standby takes over from a process that is dead, and a move leads away from one that has let go.
    """
    names = _names()
    return _handles([*standbys_among(names), *names_of(shard_id, names)])


def _names() -> list[str]:
    # Of all namespaces, since a Serve replica works in another one than the shards.
    return [found["name"] for found in list_named_actors(all_namespaces=True) if found["namespace"] == NAMESPACE]


def _handles(names: Iterable[str]) -> list[Any]:
    handles: list[Any] = []
    for name in names:
        try:
            handles.append(ray.get_actor(name, NAMESPACE))
        except ValueError:
            # It has ended since the list was made.
            continue
    return handles


async def _owner_among(shard_id: ShardId, candidates: Sequence[Any]) -> Any:
    asked = [asyncio.ensure_future(_if_owner(handle, shard_id)) for handle in candidates]
    try:
        # One that is being restarted answers late; the one that owns the shard does not have to wait for it.
        for answer in asyncio.as_completed(asked):
            if await answer is not None:
                return await _first_of(asked)
    finally:
        for question in asked:
            question.cancel()
    raise ShardUnavailable(f"shard {shard_id} is on the move", shard=shard_id, moving=True)


async def _first_of(asked: Sequence[asyncio.Future[Any | None]]) -> Any:
    """The first in line that says yes. One has; those before it get a moment more to say so too."""
    before = list(takewhile(lambda question: _answer(question) is None, asked))
    if before:
        await asyncio.wait(before, timeout=_GRACE_S)
    return next(owner for owner in map(_answer, asked) if owner is not None)


def _answer(question: asyncio.Future[Any | None]) -> Any | None:
    return question.result() if question.done() else None


async def _if_owner(handle: Any, shard_id: ShardId) -> Any | None:
    """The same handle if its actor says that it owns the shard."""
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            return handle if await handle.is_owner.remote(shard_id) else None
    except (RayError, TimeoutError, AttributeError, TypeError):
        # The last two: an actor of other code, which knows no such question.
        return None
