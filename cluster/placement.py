"""Shards as Ray actors: made once, spread over the nodes, and awaited until they serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util import list_named_actors

from actors.gateway import Gateway
from actors.names import NAMESPACE
from actors.settings import ShardConfig, StandbyConfig, Surroundings
from actors.shard_actor import ShardActor
from actors.shard_status import Phase, ShardStatus
from actors.standby_actor import StandbyActor
from portfolio.errors import PortfolioError, ShardUnavailable
from portfolio.ids import ShardId
from serve_app.finding import find_shard

CONCURRENCY_MAX: Final = 4_000
"""Calls that one shard's actor takes at once; what they queue is bounded in the shard itself."""
NODE_LABEL: Final = "ray.io/node-id"
ANYWHERE: Final[Mapping[str, Mapping[str, str]]] = {"label_selector": {}}
_POLL_S: Final = 0.1


def place(config: ShardConfig, *, name: str | None = None, node_id: str | None = None) -> ActorHandle[Any]:
    """The actor of a shard: found by name, or made, on that node if it is there. Without one, Ray chooses.

    It outlives whoever made it, and is restarted when it dies: on its node, or on another if the node is lost.
    """
    return _made(ShardActor, config, name or config.actor, node_id)


def place_standby(config: StandbyConfig, node_id: str) -> None:
    """Make the standby of a node. Once it is a shard, and its node is lost, Ray brings it to another as any shard."""
    _made(StandbyActor, config, config.actor, node_id)


def _made(kind: type[ShardActor], config: Surroundings, name: str, node_id: str | None) -> ActorHandle[Any]:
    remote: Any = ray.remote(kind)
    actor: ActorHandle[Any] = remote.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=CONCURRENCY_MAX,
        num_cpus=0,
        # An actor that asks for nothing at all is put on a node by chance, whatever else is said here.
        memory=1,
        scheduling_strategy="SPREAD",
        # Ray's soft node affinity would do as well, but puts all the shards of a lost node on a single other one.
        **({} if node_id is None else {"label_selector": {NODE_LABEL: node_id}, "fallback_strategy": [ANYWHERE]}),
    ).remote(config)
    return actor


def actor_names() -> frozenset[str]:
    """The named actors that live or are being restarted. Raises RayError."""
    return frozenset(list_named_actors())


async def wait_until_serving(gateway: Gateway, timeout_s: float, report: Callable[[str], None]) -> None:
    """Return once every shard serves. Raises TimeoutError, naming those that do not."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    shown = ""
    while True:
        statuses = await gateway.statuses()
        waiting = "; ".join(filter(None, map(_why_not, statuses.values())))
        if not waiting:
            return
        if waiting != shown:
            report(f"waiting for shards: {waiting}")
            shown = waiting
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"after {timeout_s:g} s: {waiting}")
        await asyncio.sleep(_POLL_S)


def _why_not(found: ShardStatus | PortfolioError) -> str | None:
    if isinstance(found, PortfolioError):
        return found.detail
    return None if found.phase is Phase.SERVING else f"shard {found.shard_id} {found.reason or found.phase.value}"


def end(names: Iterable[str]) -> None:
    """End actors for good, whatever they do; those that are gone already are no error."""
    for name in names:
        with suppress(ValueError, RayError):
            ray.kill(ray.get_actor(name, NAMESPACE), no_restart=True)


async def stop(shard_id: ShardId, timeout_s: float) -> None:
    """Stop a shard in good order, then end its actor for good; one that is gone already is no error."""
    try:
        handle = await find_shard(shard_id)
    except ShardUnavailable:
        return
    try:
        async with asyncio.timeout(timeout_s):
            await handle.stop.remote()
    except (RayError, TimeoutError):
        pass
    ray.kill(handle, no_restart=True)
