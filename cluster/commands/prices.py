"""`portfolio-state prices FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.commands.calling import run
from cluster.console import console, report
from cluster.database import existing_database
from cluster.loading import PriceReport, load_prices, show_price_report
from cluster.settings import Settings
from cluster.signals import interrupt_on_term
from persistence import postgres
from persistence.price_store import PostgresPriceStore


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def prices(file: Path) -> None:
    """Record the daily prices of a CSV or Parquet FILE, all or none. Can be run again; the service need not run.

    Columns: instrument_id, date, close (in the units of the day) and, for returns, adjusted_close.
    """
    interrupt_on_term()
    loaded = run(_loaded(file))
    show_price_report(loaded, console)
    sys.exit(0 if loaded.recorded is not None else 1)


async def _loaded(file: Path) -> PriceReport:
    with existing_database(Settings(), report) as dsn:
        async with postgres.pool(dsn, size_max=1) as connections:
            return await load_prices(PostgresPriceStore(connections), file, console=console)
