"""`portfolio-state repair`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

import click

from cluster.commands.calling import joined, run, wide_console
from cluster.console import report
from cluster.database import existing_database
from cluster.repair import Examination, examine, show
from cluster.settings import Settings
from portfolio import ids
from portfolio.errors import PortfolioQuarantined
from portfolio.ids import PortfolioId

_WIDTH_MIN: Final = 170


@click.command()
@click.argument("portfolio_id")
@click.option("--retry", is_flag=True, help="Put it back into service, if its rows are sound now.")
def repair(portfolio_id: str, retry: bool) -> None:
    """Show why PORTFOLIO_ID is in quarantine, and the journal rows concerned. Changes no row."""
    found = run(_retried(portfolio_id) if retry else _examined(portfolio_id))
    if not found.rows_count and found.quarantined is None:
        raise click.ClickException(f"the journal has no portfolio {portfolio_id}")
    show(found, wide_console(_WIDTH_MIN))
    sys.exit(1 if found.problem else 0)


async def _examined(portfolio_id: PortfolioId | str) -> Examination:
    name = ids.portfolio_id(portfolio_id)
    with existing_database(Settings(), report) as dsn:
        return await examine(dsn, name)


async def _retried(portfolio_id: str) -> Examination:
    name = ids.portfolio_id(portfolio_id)
    try:
        await (await joined()).rebuild(name)
    except PortfolioQuarantined:
        return await _examined(name)
    # The database says so with the next checkpoint, about a second later.
    return replace(await _examined(name), quarantined=None)
