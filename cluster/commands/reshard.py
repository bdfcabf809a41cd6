"""`portfolio-state reshard`."""

from __future__ import annotations

import click

from cluster.commands.calling import joined, run
from cluster.console import report
from cluster.doubling import Split, double


@click.command()
def reshard() -> None:
    """Double the number of shards, while they serve. What was interrupted is gone on with by calling it again."""

    async def doubled() -> int:
        await joined()
        return await double(_tell)

    count = run(doubled())
    report(f"there are {count} shards")


def _tell(split: Split) -> None:
    report(
        f"shard {split.shard_id} has split into {split.shard_id} and {split.sibling}: nothing was booked for "
        f"{split.paused_s * 1_000:,.0f} ms there, {split.sibling_paused_s * 1_000:,.0f} ms in the new one"
    )
