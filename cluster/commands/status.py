"""`portfolio-state status`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

import click
from rich.table import Table

from actors.shard_status import Phase, ShardStatus
from actors.standby_actor import StandbyStatus
from cluster import nodes
from cluster.commands.calling import joined, run, wide_console
from cluster.standbys import standby_statuses
from portfolio.errors import PortfolioError
from portfolio.ids import ShardId

_WIDTH_MIN: Final = 130
Statuses = Mapping[ShardId, ShardStatus | PortfolioError]


@click.command()
def status() -> None:
    """Show how every shard is doing, which standbys there are, and which portfolios are in quarantine."""

    async def asked() -> tuple[Statuses, Mapping[ShardId, str], list[StandbyStatus]]:
        found: Statuses = await (await joined()).statuses()
        return found, await nodes.names_by_shard(found), await standby_statuses()

    found, places, standbys = run(asked())
    wide = wide_console(_WIDTH_MIN)
    wide.print(_table(found, places))
    for standby in standbys:
        wide.print(_standby_line(standby), markup=False, soft_wrap=True)
    for line in _quarantine_lines(found.values()):
        wide.print(line, markup=False, soft_wrap=True)
    serving = [one for one in found.values() if isinstance(one, ShardStatus) and one.phase is Phase.SERVING]
    sys.exit(0 if len(serving) == len(found) else 1)


def _table(found: Statuses, places: Mapping[ShardId, str]) -> Table:
    columns = ("shard", "node", "phase", "epoch", "portfolios", "quarantined", "rows", "checkpoint", "announced")
    table = Table(*columns, "queue", "mirror", "MB")
    for shard_id, one in found.items():
        node = places.get(shard_id, "none")
        if isinstance(one, PortfolioError):
            table.add_row(str(shard_id), node, one.detail)
            continue
        table.add_row(
            str(shard_id),
            node,
            one.phase if one.reason is None else f"{one.phase}: {one.reason}",
            *(f"{count:,}" for count in (one.epoch, one.portfolios, one.quarantined_count)),
            *(f"{count:,}" for count in (one.head_seq, one.checkpoint_seq, one.announced_seq, one.queue_depth)),
            "reachable" if one.is_mirror_reachable else "away",
            f"{one.memory_mb:,.0f}",
        )
    return table


def _standby_line(standby: StandbyStatus) -> str:
    followed = ", ".join(map(str, standby.follows)) or "none"
    return f"{standby.actor} stands by for shards: {followed}"


def _quarantine_lines(found: Iterable[ShardStatus | PortfolioError]) -> list[str]:
    statuses = [one for one in found if isinstance(one, ShardStatus)]
    lines = [f"in quarantine: {name}: {reason}" for one in statuses for name, reason in one.quarantined.items()]
    more = sum(one.quarantined_count - len(one.quarantined) for one in statuses)
    return [*lines, f"and {more:,} more in quarantine"] if more else lines
