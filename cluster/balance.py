"""Which shard belongs on which node: plans that move as few shards as can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType

from portfolio.ids import ShardId

NodeId = NewType("NodeId", str)
"""Ray's id of a node, in full."""


@dataclass(frozen=True, slots=True)
class Move:
    """A shard leaves one node for another."""

    shard_id: ShardId
    source: NodeId
    target: NodeId


def spread(
    wanted: Iterable[ShardId], shards: Mapping[ShardId, NodeId], nodes: Sequence[NodeId]
) -> dict[ShardId, NodeId]:
    """A node for each of the wanted shards: always the one that has the fewest, counting the `shards` that have one.

    Raises ValueError if there is no node.
    """
    counts = _counts(shards, nodes)
    placed: dict[ShardId, NodeId] = {}
    for shard_id in sorted(wanted):
        placed[shard_id] = _emptiest(counts)
        counts[placed[shard_id]] += 1
    return placed


def plan_rebalance(shards: Mapping[ShardId, NodeId], nodes: Sequence[NodeId]) -> list[Move]:
    """The fewest moves after which no node has two shards more than another.

    Shards on nodes that are not among `nodes` stay out of it. Of two nodes with four shards and none, two move; with
    three and none, one; with two and one, none.
    """
    counts = _counts(shards, nodes)
    shares = _shares(counts)
    moves: list[Move] = []
    for shard_id, source in sorted(shards.items()):
        if source in counts and counts[source] > shares[source]:
            target = min(counts, key=lambda node: (counts[node] - shares[node], node))
            moves.append(Move(shard_id, source, target))
            counts[source] -= 1
            counts[target] += 1
    return moves


def _shares(counts: Mapping[NodeId, int]) -> dict[NodeId, int]:
    """How many shards each node is to have. The larger shares go to those that have the most, so that fewest move."""
    share, larger_shares = divmod(sum(counts.values()), len(counts) or 1)
    fullest_first = sorted(counts, key=lambda node: (-counts[node], node))
    return {node: share + (place < larger_shares) for place, node in enumerate(fullest_first)}


def plan_drain(shards: Mapping[ShardId, NodeId], nodes: Sequence[NodeId], drained: NodeId) -> list[Move]:
    """A move for every shard of the drained node, to whichever other has the fewest then; nothing else moves.

    Raises ValueError if there is a shard to move and no other node.
    """
    leaving = [shard_id for shard_id, node in shards.items() if node == drained]
    targets = spread(leaving, shards, [node for node in nodes if node != drained])
    return [Move(shard_id, drained, target) for shard_id, target in targets.items()]


def _counts(shards: Mapping[ShardId, NodeId], nodes: Iterable[NodeId]) -> dict[NodeId, int]:
    held = list(shards.values())
    return {node: held.count(node) for node in sorted(nodes)}


def _emptiest(counts: Mapping[NodeId, int]) -> NodeId:
    if not counts:
        raise ValueError("there is no node to put a shard on")
    return min(counts, key=lambda node: (counts[node], node))
