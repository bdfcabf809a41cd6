"""`portfolio-state verify`: runs a verification, shows it, and gives the exit status."""

from __future__ import annotations

import asyncio
import json
import sys

import click
from ray.exceptions import RayError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.console import console
from cluster.settings import Settings
from cluster.verifying.addresses import sources_of
from cluster.verifying.report import Report, as_json, show
from cluster.verifying.verification import verify as verified
from portfolio.errors import PortfolioError

NOT_DONE = 2


@click.command()
@click.option(
    "--deep", is_flag=True, help="Compare every document to the last byte, keys, computed columns and indexes too."
)
@click.option("--json", "is_json", is_flag=True, help="Print one line of JSON.")
def verify(deep: bool, is_json: bool) -> None:
    """Recompute everything from the journal and compare it with checkpoint, memory and mirror.

    Exit status 0: nothing differs; 1: something does; 2: it could not be found out.
    """
    sys.exit(run(Settings(), deep=deep, is_json=is_json, console=console))


def run(settings: Settings, *, deep: bool, is_json: bool, console: Console) -> int:
    """0 if nothing differs, 1 if something does, 2 if that could not be found out."""
    try:
        report = asyncio.run(_verified(settings, deep, console, is_quiet=is_json))
    except (PortfolioError, RayError, ConnectionError, LookupError) as error:
        _say_why_not(str(error), is_json, console)
        return NOT_DONE
    except KeyboardInterrupt:
        _say_why_not("interrupted", is_json, console)
        return NOT_DONE
    if is_json:
        console.print(as_json(report), markup=False, soft_wrap=True)
    else:
        show(report, console)
    return report.exit_status


async def _verified(settings: Settings, deep: bool, console: Console, *, is_quiet: bool) -> Report:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = is_quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("journal rows", total=None)
        async with sources_of(settings) as sources:
            return await verified(
                sources, deep=deep, progress=lambda rows, total: progress.update(task, total=total, advance=rows)
            )


def _say_why_not(why: str, is_json: bool, console: Console) -> None:
    if is_json:
        console.print(json.dumps({"exit_status": NOT_DONE, "error": why}), markup=False, soft_wrap=True)
    else:
        console.print(f"not verified: {why}", markup=False, soft_wrap=True)
