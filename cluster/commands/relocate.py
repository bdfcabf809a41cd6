"""The commands that move shards between nodes: `portfolio-state rebalance | drain`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

import click
from rich.table import Table

from cluster.balance import Move, NodeId, plan_drain, plan_rebalance
from cluster.commands.calling import joined, run
from cluster.console import console
from cluster.moving import Moved, move
from cluster.nodes import Node, alive_nodes, find_node, shards_by_node
from portfolio.errors import PortfolioError
from portfolio.ids import ShardId

Plan = Callable[[dict[ShardId, NodeId], Sequence[Node]], list[Move]]


@click.command()
def rebalance() -> None:
    """Move as few shards as it takes for every node to have the same number, or one more."""
    _run(lambda shards, nodes: plan_rebalance(shards, [node.node_id for node in nodes]))


@click.command()
@click.argument("node")
def drain(node: str) -> None:
    """Move every shard off NODE, named by its address, its name or the beginning of its id."""

    def plan(shards: dict[ShardId, NodeId], nodes: Sequence[Node]) -> list[Move]:
        return plan_drain(shards, [found.node_id for found in nodes], find_node(nodes, node).node_id)

    _run(plan)


def _run(plan: Plan) -> None:
    sys.exit(0 if run(_carry_out(plan)) else 1)


async def _carry_out(plan: Plan) -> bool:
    """Move what the plan says, one shard after another, so that never more than one pauses; whether all have moved."""
    statuses = await (await joined()).statuses()
    nodes = await asyncio.to_thread(alive_nodes)
    shards = await shards_by_node(statuses)
    if away := sorted(set(statuses) - set(shards)):
        console.print(f"left out, because they cannot be reached: shards {', '.join(map(str, away))}")
    moves = plan(shards, nodes)
    outcomes = [await _outcome(one) for one in moves]
    if moves:
        console.print(_table(moves, outcomes, {node.node_id: str(node) for node in nodes}))
    else:
        console.print("every shard is where it should be")
    return not away and all(isinstance(outcome, Moved) for outcome in outcomes)


async def _outcome(wanted: Move) -> Moved | PortfolioError:
    try:
        return await move(wanted.shard_id, wanted.target)
    except PortfolioError as error:
        return error


def _table(moves: Sequence[Move], outcomes: Sequence[Moved | PortfolioError], names: dict[NodeId, str]) -> Table:
    table = Table("shard", "from", "to", "pause ms")
    for wanted, outcome in zip(moves, outcomes, strict=True):
        told = f"{outcome.paused_s * 1_000:,.0f}" if isinstance(outcome, Moved) else f"not moved: {outcome.detail}"
        table.add_row(str(wanted.shard_id), names[wanted.source], names[wanted.target], told)
    return table
