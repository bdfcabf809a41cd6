"""Brings the code that is on disk now into a service that goes on serving."""

from __future__ import annotations

import asyncio
import logging

from cluster import front
from cluster.attaching import attach
from cluster.console import Report
from cluster.moving import move
from cluster.settings import Settings
from cluster.standbys import dismiss, spare_standbys
from persistence.embedded.postgres import running_address
from persistence.migrate import read_cluster


def upgrade(settings: Settings, report: Report) -> None:
    """Replace the processes of a running service one after the other, while callers write.

    Serve starts the new front before it stops the old one, which finishes what it has begun. Raises ConnectionError if
    no service runs, and as `front.deploy` does.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    attach(settings)
    dsn = settings.postgres_dsn or running_address(settings.data_dir)
    # The service makes new ones of the code on disk. An old one must not become a shard after the shards are replaced.
    dismiss(spare_standbys(read_cluster(dsn)))
    asyncio.run(_replace_shards(dsn, report))
    report("replacing the REST front")
    front.deploy(settings, dsn)
    report("upgraded")


async def _replace_shards(dsn: str, report: Report) -> None:
    # One after another, so that never more than one pauses.
    for shard in read_cluster(dsn).shards:
        moved = await move(shard.shard_id)
        report(f"shard {shard.shard_id} is in a new process; it paused for {moved.paused_s * 1_000:,.0f} ms")
