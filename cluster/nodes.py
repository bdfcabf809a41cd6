"""The nodes of the Ray cluster that this process has joined, and which shard is on which."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ray

from cluster.balance import NodeId
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app.reaching import locate


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that Ray holds to be alive. `name` is what it was started with, else its address."""

    node_id: NodeId
    address: str
    name: str

    def __str__(self) -> str:
        return self.address if self.name == self.address else f"{self.name} ({self.address})"


def alive_nodes() -> list[Node]:
    """In the order of their addresses; several of one machine in the order of their ids."""
    found = [
        Node(node_id=NodeId(node["NodeID"]), address=node["NodeManagerAddress"], name=node["NodeName"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]  # it has no annotations
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: (node.address, node.node_id))


def find_node(nodes: Sequence[Node], wanted: str) -> Node:
    """The one node of that address, name or beginning of an id. Raises LookupError if there is none, or several."""
    found = [
        node for node in nodes if wanted in (node.address, node.name) or (wanted and node.node_id.startswith(wanted))
    ]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(f"{node.node_id[:12]} {node}" for node in found or nodes)
    raise LookupError(f"{'several nodes are' if found else 'no node is'} {wanted!r}: {shown}")


async def shards_by_node(shard_ids: Iterable[ShardId]) -> dict[ShardId, NodeId]:
    """The node of every shard that says where it is; one that is away is left out."""

    async def node_of(shard_id: ShardId) -> tuple[ShardId, NodeId] | None:
        try:
            return shard_id, NodeId((await locate(shard_id)).node_id)
        except ShardUnavailable:
            return None

    found = await asyncio.gather(*map(node_of, shard_ids))
    return dict(one for one in found if one is not None)


async def names_by_shard(shard_ids: Iterable[ShardId]) -> dict[ShardId, str]:
    """What to call the node of each shard that says where it is."""
    names = {node.node_id: str(node) for node in await asyncio.to_thread(alive_nodes)}
    places = await shards_by_node(shard_ids)
    return {shard_id: names.get(node_id, node_id[:12]) for shard_id, node_id in places.items()}
