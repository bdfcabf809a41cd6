"""One standby for each node: which are missing, which are too many, and what is done about it."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import RayError

from actors.names import NAMESPACE, node_digits, standby_name, standby_place, standbys_among
from actors.settings import StandbyConfig
from actors.standby_actor import StandbyStatus
from cluster.nodes import alive_nodes
from cluster.placement import actor_names, end, place_standby
from persistence.migrate import Cluster

_log = logging.getLogger(__name__)
_STATUS_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes that want a standby, each with a name that no other has, and the standbys that are not wanted."""

    missing: dict[str, str]
    surplus: tuple[str, ...]


def plan(
    nodes: Iterable[str], names: Collection[str], owners: Collection[str], former: Collection[str] = frozenset()
) -> Plan:
    """One spare standby on each of `nodes`, given in full.

    `names` are the actors that there are, `owners` those that are meant to own a shard, `former` those that were: what was
    made as a standby is spare if it is neither. Of several spare ones of a node the first stays. Former owners leave, and
    those of other nodes wait for a node that is gone: both are ended.
    """
    spare: dict[str, list[str]] = defaultdict(list)
    numbers: dict[str, int] = defaultdict(int)
    for name in sorted({*standbys_among([*names, *owners, *former])}, key=standby_place):
        node, numbers[node] = standby_place(name)
        if name in names and name not in owners and name not in former:
            spare[node].append(name)
    wanted = {node_digits(node): node for node in nodes}
    missing = {node: standby_name(digits, numbers[digits] + 1) for digits, node in wanted.items() if not spare[digits]}
    surplus = [name for digits, found in spare.items() for name in (found[1:] if digits in wanted else found)]
    leaving = sorted(name for name in former if name in names and name not in owners)
    return Plan(missing, (*surplus, *leaving))


class Standbys:
    """Sees to it that each node has a standby. `config` gives what one is told, from its name and its node's digits."""

    def __init__(self, config: Callable[[str, str], StandbyConfig], *, is_wanted: bool) -> None:
        self._config = config
        self._is_wanted = is_wanted
        self._owners: set[str] = set()

    def see_to(self, names: Collection[str], owners: Collection[str]) -> None:
        """Make what is missing and end what is too many."""
        self._owners.update(standbys_among(owners))
        try:
            nodes = [node.node_id for node in alive_nodes()] if self._is_wanted else []
            found = plan(nodes, names, owners, self._owners)
            for node_id, name in found.missing.items():
                place_standby(self._config(name, node_digits(node_id)), node_id)
        except RayError as error:
            _log.info("standbys cannot be seen to: %s", error)
            return
        dismiss(found.surplus)


def dismiss(names: Iterable[str]) -> None:
    """Have those end that have not become shards, nor are about to."""
    for name in names:
        # A shard that was made anew under a standby's name knows no dismissal.
        with suppress(ValueError, RayError, AttributeError):
            ray.get_actor(name, NAMESPACE).dismiss.remote()


def spare_standbys(cluster: Cluster) -> list[str]:
    """The standbys that are not meant to be shards. Raises RayError."""
    owners = {shard.actor for shard in cluster.shards}
    return [name for name in standbys_among(actor_names()) if name not in owners]


def end_spare(cluster: Cluster | None) -> None:
    """End the spare standbys at once; where Ray does not answer, there is none to end.

    Without `cluster` (Postgres is away) only they can tell which of them have become shards since.
    """
    with suppress(RayError):
        if cluster is not None:
            end(spare_standbys(cluster))
        else:
            end(status.actor for status in asyncio.run(standby_statuses()))


async def standby_statuses() -> list[StandbyStatus]:
    """What each spare standby follows, of those that answer at once. Raises RayError."""
    names = standbys_among(await asyncio.to_thread(actor_names))
    found = await asyncio.gather(*map(_status, sorted(names)))
    return [status for status in found if status is not None and status.shard_id is None]


async def _status(name: str) -> StandbyStatus | None:
    # A shard that was made anew under a standby's name is none, and has nothing to say.
    with suppress(ValueError, RayError, TimeoutError, AttributeError):
        handle: Any = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
        async with asyncio.timeout(_STATUS_TIMEOUT_S):
            status: StandbyStatus = await handle.standby_status.remote()
            return status
    return None
