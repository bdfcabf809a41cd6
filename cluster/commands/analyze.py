"""`portfolio-state analyze`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from pydantic import ValidationError
from ray.exceptions import RayError

from analytics.document import WINDOW_DEFAULT, AnalysisTerms
from cluster.attaching import attach
from cluster.batch.run import Summary, batch_here, write_batch
from cluster.console import console
from cluster.loading.progress import progress_bar
from cluster.settings import Settings
from cluster.signals import interrupt_on_term, signals_kept
from persistence.whole_file import FileNotWritten, require_free
from portfolio import ids
from portfolio.errors import PortfolioError
from portfolio.ids import PortfolioId
from serve_app.problems import form_error
from serve_app.schemas import AnalysisQuery

QUARANTINED: Final = 1
NOT_WRITTEN: Final = 2
NICENESS: Final = 10


@click.command()
@click.argument("portfolio_ids", metavar="[PORTFOLIO_ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every portfolio of every shard.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The Parquet file to write."
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option(
    "--window", type=int, default=WINDOW_DEFAULT, show_default=True, help="How many daily returns to look at."
)
@click.option("--benchmark", help="The instrument to compare with.  [default: PORTFOLIO_BENCHMARK]")
@click.option("--risk-free-rate", type=float, default=0.0, show_default=True, help="A year's, as a fraction: 0.02.")
def analyze(portfolio_ids: tuple[str, ...], *, is_all: bool, out: Path, force: bool, **terms: Any) -> None:
    """Compute the figures of every portfolio, or of those named, on the cluster's workers, and write them to one file.

    A row a portfolio, a column a figure. The file is written whole or not at all. Exit status 0: all figures are there;
    1: portfolios in quarantine have none; 2: nothing was written.
    """
    if is_all == bool(portfolio_ids):
        raise click.UsageError("name portfolios, or give --all")
    interrupt_on_term()
    # It may run on a node that serves, and whoever is served goes first.
    os.nice(NICENESS)
    sys.exit(_run(portfolio_ids, terms, out, overwrite=force))


def _run(portfolio_ids: Sequence[str], terms: Mapping[str, Any], out: Path, *, overwrite: bool) -> int:
    began = time.perf_counter()
    try:
        named = list(map(ids.portfolio_id, portfolio_ids))
        wanted = _terms(terms)
        require_free(out, overwrite=overwrite)
        with signals_kept():
            attach(Settings())
        summary = asyncio.run(_written(named, wanted, out, overwrite=overwrite))
    except (PortfolioError, FileNotWritten, RayError, OSError) as error:
        return _not_written(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _not_written("interrupted")
    elapsed_s = time.perf_counter() - began
    console.print(f"{out}: {summary.portfolios:,} portfolios in {elapsed_s:.1f} s", markup=False, soft_wrap=True)
    if summary.quarantined:
        console.print(f"{summary.quarantined:,} of them are in quarantine and have no figures")
    return QUARANTINED if summary.quarantined else 0


def _terms(given: Mapping[str, Any]) -> AnalysisTerms:
    """The terms, within the same bounds as over REST. Raises InvalidRequest."""
    try:
        return AnalysisQuery.model_validate(given).terms(AnalysisTerms(benchmark=Settings().benchmark))
    except ValidationError as error:
        raise form_error(error.errors()) from error


async def _written(
    portfolio_ids: Sequence[PortfolioId], terms: AnalysisTerms, out: Path, *, overwrite: bool
) -> Summary:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        # From here on between two steps: what would be raised within one of Polars' is a panic there.
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    batch = await batch_here(portfolio_ids, terms)
    with progress_bar(console, "portfolios", batch.portfolio_count) as advance:
        return await write_batch(batch, out, overwrite=overwrite, advance=advance)


def _not_written(why: str) -> int:
    console.print(f"not written: {why}", markup=False, soft_wrap=True)
    return NOT_WRITTEN
