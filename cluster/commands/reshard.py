"""`portfolio-state reshard`."""

from __future__ import annotations

import click

from cluster.commands.calling import joined, run
from cluster.console import report
from cluster.doubling import Split, double


@click.command()
@click.argument("count", type=click.IntRange(2, 4_096))
def reshard(count: int) -> None:
    """Double the number of shards to COUNT, while they serve. Call it again if it was interrupted."""

    async def doubled() -> None:
        await joined()
        await double(count, _tell)

    run(doubled())
    report(f"there are {count} shards")


def _tell(split: Split) -> None:
    report(
        f"shard {split.shard_id} has split into {split.shard_id} and {split.sibling}: nothing was booked for "
        f"{split.paused_s * 1_000:,.0f} ms there, {split.sibling_paused_s * 1_000:,.0f} ms in the new one"
    )
