"""The command line: `portfolio-state up | load | status`."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

import click
from ray.exceptions import RayError
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from actors.gateway import Gateway
from actors.shard import Phase, ShardStatus
from cluster import client
from cluster.loading import LoadReport, load_file, load_sample, show_report
from cluster.service import Service, interrupt_on_term
from cluster.settings import Settings
from persistence.embedded.errors import EmbeddedServerError
from portfolio.errors import PortfolioError

Result = TypeVar("Result")
console = Console(highlight=False)
TABLE_WIDTH_MIN = 110
FIRST_OF_SAMPLE = "PORTFOLIO-0001"


@click.group()
@click.version_option(package_name="portfolio-state")
def main() -> None:
    """The portfolio state service: what a portfolio holds and what it is worth, right now."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )


@main.command()
@click.option("--sample", is_flag=True, help="Load the sample portfolios first, if the database is empty.")
def up(sample: bool) -> None:
    """Start the service and serve until Ctrl-C."""
    settings = Settings()
    interrupt_on_term()
    try:
        _serve(Service(settings, _report), sample)
    except KeyboardInterrupt:
        console.print("stopped")
    except (EmbeddedServerError, PortfolioError, RayError, TimeoutError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _report(step: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {step}")


def _serve(service: Service, sample: bool) -> None:
    with service.running() as gateway:
        if sample:
            asyncio.run(_load_sample_once(gateway))
        with service.serving():
            _say_what_to_try(f"http://{service.settings.http_host}:{service.settings.http_port}", sample)
            while True:
                time.sleep(3_600)


async def _load_sample_once(gateway: Gateway) -> None:
    first = await gateway.page("", 1, None)
    if first and first[0].portfolio_id != FIRST_OF_SAMPLE:
        console.print("the database has portfolios already: the sample is not loaded")
        return
    # A load that was interrupted goes on where it ended; one that was complete finds nothing to do.
    report = await load_sample(gateway, console=console)
    if report.booked or report.problem_count:
        show_report(report, console)
    else:
        console.print("the sample is there already: nothing is loaded")


def _say_what_to_try(base: str, sample: bool) -> None:
    console.print(f"\nserving on {base} (documentation: {base}/docs); Ctrl-C stops\n\ntry:", soft_wrap=True)
    api = f"{base}/api/v1"
    portfolio = "PORTFOLIO-0001" if sample else "GROWTH-1"
    lines = [
        f"curl -s {api}/portfolio/{portfolio}/state",
        f"curl -s '{api}/portfolio/{portfolio}/transactions?limit=3'",
        f"curl -s '{api}/portfolios?limit=3'",
        f"curl -s -X POST {api}/portfolio/{portfolio}/update -H 'Idempotency-Key: try-1' -d "
        '\'{"updates": [{"instrument_id": "AAPL", "quantity_change": 10, "price": "190.25", "transaction_type": "BUY"}]}\'',
        f'curl -s -X POST {api}/marks -d \'{{"marks": [{{"instrument_id": "AAPL", "price": "191.00"}}]}}\'',
    ]
    if not sample:
        lines.insert(
            0, f'curl -s -X POST {api}/portfolios -d \'{{"portfolio_id": "GROWTH-1", "cash_balance": 50000}}\''
        )
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--all-or-nothing", is_flag=True, help="Book nothing if any row is bad.")
@click.option("--dry-run", is_flag=True, help="Check every row and book nothing.")
def load(file: Path, all_or_nothing: bool, dry_run: bool) -> None:
    """Book the transactions of a CSV or Parquet FILE. Can be run again: nothing is booked twice."""

    async def run() -> LoadReport:
        await asyncio.to_thread(client.attach, Settings())
        gateway = await client.gateway_by_handles()
        return await load_file(gateway, file, all_or_nothing=all_or_nothing, dry_run=dry_run, console=console)

    report = asyncio.run(_or_exit(run()))
    show_report(report, console)
    sys.exit(0 if report.is_complete else 1)


@main.command()
def status() -> None:
    """Show how every shard is doing."""

    async def run() -> list[ShardStatus | PortfolioError]:
        await asyncio.to_thread(client.attach, Settings())
        return list((await (await client.gateway_by_handles()).statuses()).values())

    found = asyncio.run(_or_exit(run()))
    Console(highlight=False, width=max(console.width, TABLE_WIDTH_MIN)).print(_status_table(found))
    serving = [one for one in found if isinstance(one, ShardStatus) and one.phase is Phase.SERVING]
    sys.exit(0 if len(serving) == len(found) else 1)


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
