"""`portfolio-state load`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cluster.commands.calling import joined, run
from cluster.console import console
from cluster.loading import LoadReport, load_file, show_report


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--all-or-nothing", is_flag=True, help="Book nothing if any row is bad.")
@click.option("--dry-run", is_flag=True, help="Check every row and book nothing.")
def load(file: Path, all_or_nothing: bool, dry_run: bool) -> None:
    """Book the transactions of a CSV or Parquet FILE. Can be run again: nothing is booked twice.

    Columns: portfolio_id, instrument_id, quantity_change, price, transaction_type; where wanted fee, timestamp, ratio,
    transaction_id; to open a portfolio portfolio_name, and where wanted base_currency, allow_short, min_cash.
    """

    async def loaded() -> LoadReport:
        return await load_file(await joined(), file, all_or_nothing=all_or_nothing, dry_run=dry_run, console=console)

    report = run(loaded())
    show_report(report, console)
    sys.exit(0 if report.is_complete else 1)
