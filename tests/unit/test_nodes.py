"""Nodes as an operator names them."""

from __future__ import annotations

import pytest

from cluster.balance import NodeId
from cluster.nodes import Node, find_node

NODES = [
    Node(node_id=NodeId("a1" * 28), address="10.0.0.1", name="10.0.0.1"),
    Node(node_id=NodeId("a2" * 28), address="10.0.0.2", name="blue"),
    Node(node_id=NodeId("b3" * 28), address="10.0.0.2", name="green"),
]


@pytest.mark.parametrize(
    ("wanted", "number"), [("10.0.0.1", 0), ("blue", 1), ("green", 2), ("a2", 1), ("b", 2), ("a1" * 28, 0)]
)
def test_a_node_is_found_by_address_name_or_the_beginning_of_its_id(wanted: str, number: int) -> None:
    assert find_node(NODES, wanted) is NODES[number]


@pytest.mark.parametrize("wanted", ["a", "10.0.0.2"])
def test_what_fits_several_nodes_is_refused_with_their_names(wanted: str) -> None:
    with pytest.raises(LookupError, match=r"several nodes.*blue \(10\.0\.0\.2\)"):
        find_node(NODES, wanted)


@pytest.mark.parametrize("wanted", ["c", "10.0.0", "", "red"])
def test_a_node_that_is_not_there_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(LookupError, match=r"no node is.*green"):
        find_node(NODES, wanted)
