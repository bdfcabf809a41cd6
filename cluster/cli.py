"""The command line: `portfolio-state up | load | status | upgrade`.

Commands import what they need themselves: `up` must not import Ray, and `--help` need not wait for it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from rich.console import Console
from rich.table import Table

from cluster.console import console, log_to_console, report
from cluster.settings import Settings
from cluster.signals import interrupt_on_term
from cluster.supervisor import NeverServed, Supervisor
from persistence.embedded.errors import EmbeddedServerError
from portfolio.errors import PortfolioError

if TYPE_CHECKING:
    from actors.shard import ShardStatus
    from cluster.loading import LoadReport

Result = TypeVar("Result")
TABLE_WIDTH_MIN = 110


@click.group()
@click.version_option(package_name="portfolio-state")
def main() -> None:
    """The portfolio state service: what a portfolio holds and what it is worth, right now."""
    log_to_console()


@main.command()
@click.option("--sample", is_flag=True, help="Load the sample portfolios first, if the database is empty.")
def up(sample: bool) -> None:
    """Start the service and serve until Ctrl-C."""
    interrupt_on_term()
    try:
        Supervisor(Settings(), report, sample=sample).run()
    except KeyboardInterrupt:
        console.print("stopped")
    except NeverServed:
        sys.exit(1)
    except (EmbeddedServerError, PortfolioError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command("serve-child", hidden=True)
@click.option("--first", is_flag=True)
@click.option("--sample", is_flag=True)
def serve_child(first: bool, sample: bool) -> None:
    """What `up` runs to serve, with Ray."""
    from ray.exceptions import RayError

    from cluster.serve_child import serve

    interrupt_on_term()
    try:
        serve(Settings(), is_first=first, sample=sample)
    except KeyboardInterrupt:
        sys.exit(0)
    except (PortfolioError, RayError, TimeoutError, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--all-or-nothing", is_flag=True, help="Book nothing if any row is bad.")
@click.option("--dry-run", is_flag=True, help="Check every row and book nothing.")
def load(file: Path, all_or_nothing: bool, dry_run: bool) -> None:
    """Book the transactions of a CSV or Parquet FILE. Can be run again: nothing is booked twice."""
    from cluster import client
    from cluster.loading import load_file, show_report

    async def run() -> LoadReport:
        await asyncio.to_thread(client.attach, Settings())
        gateway = await client.gateway_by_handles()
        return await load_file(gateway, file, all_or_nothing=all_or_nothing, dry_run=dry_run, console=console)

    loaded = asyncio.run(_or_exit(run()))
    show_report(loaded, console)
    sys.exit(0 if loaded.is_complete else 1)


@main.command()
def status() -> None:
    """Show how every shard is doing."""
    from actors.shard import Phase, ShardStatus
    from cluster import client

    async def run() -> list[ShardStatus | PortfolioError]:
        await asyncio.to_thread(client.attach, Settings())
        return list((await (await client.gateway_by_handles()).statuses()).values())

    found = asyncio.run(_or_exit(run()))
    Console(highlight=False, width=max(console.width, TABLE_WIDTH_MIN)).print(_status_table(found))
    serving = [one for one in found if isinstance(one, ShardStatus) and one.phase is Phase.SERVING]
    sys.exit(0 if len(serving) == len(found) else 1)


@main.command()
def upgrade() -> None:
    """Bring the code that is on disk now into the running service, which goes on serving."""
    from ray.exceptions import RayError

    from cluster.upgrade import upgrade

    try:
        upgrade(Settings(), report)
    except (EmbeddedServerError, PortfolioError, RayError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _or_exit(call: Awaitable[Result]) -> Result:
    """The result of a call to the service, or an orderly exit with what is wrong."""
    try:
        return await call
    except (PortfolioError, ConnectionError) as error:
        raise click.ClickException(str(error)) from error


def _status_table(found: Sequence[ShardStatus | PortfolioError]) -> Table:
    columns = ("shard", "phase", "epoch", "portfolios", "rows", "checkpoint", "announced", "queue", "mirror", "MB")
    table = Table(*columns)
    for number, one in enumerate(found):
        if isinstance(one, PortfolioError):
            table.add_row(str(number), one.detail)
            continue
        table.add_row(
            str(number),
            one.phase if one.reason is None else f"{one.phase}: {one.reason}",
            *(f"{count:,}" for count in (one.epoch, one.portfolios, one.head_seq, one.checkpoint_seq)),
            *(f"{count:,}" for count in (one.announced_seq, one.queue_depth)),
            "reachable" if one.is_mirror_reachable else "away",
            f"{one.memory_mb:,.0f}",
        )
    return table
