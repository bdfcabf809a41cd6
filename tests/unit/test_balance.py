"""Plans of moves, against laws that hold for all of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.balance import Move, NodeId, plan_drain, plan_rebalance, spread
from portfolio.ids import ShardId

NODES = [NodeId(name) for name in "abcde"]
GONE = NodeId("gone")

nodes_that_live = st.lists(st.sampled_from(NODES), min_size=1, unique=True)
shards_anywhere = st.dictionaries(st.integers(0, 40).map(ShardId), st.sampled_from([*NODES, GONE]), max_size=25)


def test_worked_examples() -> None:
    a, b, c = NODES[:3]
    on_a = {ShardId(number): a for number in range(4)}
    assert plan_rebalance(on_a, [a, b]) == [Move(ShardId(0), a, b), Move(ShardId(1), a, b)]
    assert plan_rebalance({ShardId(0): a, ShardId(1): a, ShardId(2): b}, [a, b]) == []
    assert plan_drain({ShardId(0): a, ShardId(1): b, ShardId(2): a}, [a, b, c], a) == [
        Move(ShardId(0), a, c),
        Move(ShardId(2), a, b),
    ]
    assert spread(map(ShardId, range(5)), {}, [b, a]) == dict(enumerate([a, b, a, b, a]))
    assert spread([ShardId(1)], {ShardId(0): a}, [a, b]) == {ShardId(1): b}


def moved(shards: dict[ShardId, NodeId], moves: list[Move]) -> dict[ShardId, NodeId]:
    """Where the shards are after the moves, each of which finds its shard where it says."""
    after = dict(shards)
    for move in moves:
        assert after[move.shard_id] == move.source
        assert move.source != move.target
        after[move.shard_id] = move.target
    assert len({move.shard_id for move in moves}) == len(moves)
    return after


def counts(shards: dict[ShardId, NodeId], nodes: list[NodeId]) -> list[int]:
    found = Counter(shards.values())
    return [found[node] for node in nodes]


@given(shards_anywhere, nodes_that_live)
def test_after_a_rebalance_counts_differ_by_at_most_one(shards: dict[ShardId, NodeId], nodes: list[NodeId]) -> None:
    after = moved(shards, plan_rebalance(shards, nodes))
    assert max(counts(after, nodes)) - min(counts(after, nodes)) <= 1
    assert plan_rebalance(after, nodes) == []


@given(shards_anywhere, nodes_that_live)
def test_a_rebalance_has_no_move_too_many(shards: dict[ShardId, NodeId], nodes: list[NodeId]) -> None:
    share, larger = divmod(sum(counts(shards, nodes)), len(nodes))
    # What each node holds beyond its share has to leave, and `larger` nodes may keep one more.
    beyond = [held - share for held in counts(shards, nodes) if held > share]
    assert len(plan_rebalance(shards, nodes)) == sum(beyond) - min(larger, len(beyond))


@given(shards_anywhere, nodes_that_live)
def test_shards_on_nodes_that_are_gone_stay_out_of_it(shards: dict[ShardId, NodeId], nodes: list[NodeId]) -> None:
    moves = plan_rebalance(shards, nodes)
    assert {node for move in moves for node in (move.source, move.target)} <= set(nodes)


@given(shards_anywhere, nodes_that_live)
def test_a_plan_does_not_depend_on_the_order_of_what_it_is_given(
    shards: dict[ShardId, NodeId], nodes: list[NodeId]
) -> None:
    shuffled = dict(reversed(shards.items()))
    assert plan_rebalance(shuffled, nodes[::-1]) == plan_rebalance(shards, nodes)
    assert spread(reversed(shards), {}, nodes[::-1]) == spread(shards, {}, nodes)


@given(shards_anywhere, st.lists(st.sampled_from(NODES), min_size=2, unique=True))
def test_a_drain_moves_what_is_there_and_nothing_else(shards: dict[ShardId, NodeId], nodes: list[NodeId]) -> None:
    drained, *others = nodes
    moves = plan_drain(shards, nodes, drained)
    after = moved(shards, moves)
    assert drained not in after.values()
    assert {move.source for move in moves} <= {drained}
    assert {move.target for move in moves} <= set(others)
    assert len(moves) == sum(node == drained for node in shards.values())
    assert plan_drain(after, nodes, drained) == []


@given(shards_anywhere, st.lists(st.sampled_from(NODES), min_size=2, unique=True))
def test_a_drain_of_balanced_nodes_leaves_the_others_balanced(
    shards: dict[ShardId, NodeId], nodes: list[NodeId]
) -> None:
    balanced = moved(shards, plan_rebalance(shards, nodes))
    after = moved(balanced, plan_drain(balanced, nodes, nodes[0]))
    assert max(counts(after, nodes[1:])) - min(counts(after, nodes[1:])) <= 1


def test_the_last_node_cannot_be_drained_of_a_shard() -> None:
    assert plan_drain({}, NODES[:1], NODES[0]) == []
    with pytest.raises(ValueError, match="no node"):
        plan_drain({ShardId(0): NODES[0]}, NODES[:1], NODES[0])
