"""`portfolio-state analyze`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from ray.exceptions import RayError

from analytics.document import WINDOW_DEFAULT, WINDOW_MAX, WINDOW_MIN, AnalysisTerms
from analytics.tasks import Workers
from cluster.batch.chunks import Chunk, chunks_of_all, chunks_of_some
from cluster.batch.reading import PATIENCE
from cluster.batch.run import CHUNK_SIZE, Batch, Summary, write_batch
from cluster.commands.calling import joined
from cluster.console import console
from cluster.loading.patience import patiently
from cluster.loading.progress import progress_bar
from cluster.signals import interrupt_on_term
from persistence.whole_file import FileNotWritten
from portfolio import ids
from portfolio.errors import PortfolioError
from serve_app.finding import any_config

QUARANTINED, NOT_WRITTEN = 1, 2


@click.command()
@click.argument("portfolio_ids", metavar="[PORTFOLIO_ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every portfolio of every shard.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The Parquet file to write."
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@click.option(
    "--window",
    type=click.IntRange(WINDOW_MIN, WINDOW_MAX),
    default=WINDOW_DEFAULT,
    show_default=True,
    help="Daily returns to take.",
)
@click.option("--benchmark", help="The instrument to compare with.")
@click.option("--risk-free-rate", type=float, default=0.0, show_default=True, help="A year's, as a fraction: 0.02.")
def analyze(
    *,
    portfolio_ids: tuple[str, ...],
    is_all: bool,
    out: Path,
    force: bool,
    window: int,
    benchmark: str | None,
    risk_free_rate: float,
) -> None:
    """Compute the figures of every portfolio, or of those named, on the cluster's workers, and write them to one file.

    A row a portfolio, a column a figure. The file is written whole or not at all. Exit status 0: all figures are there;
    1: portfolios in quarantine have none; 2: nothing was written.
    """
    if is_all == bool(portfolio_ids):
        raise click.UsageError("name portfolios, or give --all")
    interrupt_on_term()
    terms = AnalysisTerms(window=window, benchmark=benchmark, risk_free_rate=risk_free_rate)
    sys.exit(_run(portfolio_ids, terms, out, force))


def _run(portfolio_ids: Sequence[str], terms: AnalysisTerms, out: Path, overwrite: bool) -> int:
    began = time.perf_counter()
    try:
        summary = asyncio.run(_written(portfolio_ids, terms, out, overwrite))
    except (PortfolioError, FileNotWritten, RayError, ConnectionError) as error:
        console.print(f"not written: {error}", markup=False, soft_wrap=True)
        return NOT_WRITTEN
    except KeyboardInterrupt:
        console.print("not written: interrupted")
        return NOT_WRITTEN
    elapsed_s = time.perf_counter() - began
    console.print(f"{out}: {summary.portfolios:,} portfolios in {elapsed_s:.1f} s", markup=False, soft_wrap=True)
    if summary.quarantined:
        console.print(f"{summary.quarantined:,} of them are in quarantine and have no figures")
    return QUARANTINED if summary.quarantined else 0


async def _written(portfolio_ids: Sequence[str], terms: AnalysisTerms, out: Path, overwrite: bool) -> Summary:
    chunks, count = await _chunks(portfolio_ids)
    batch = Batch(
        workers=await asyncio.to_thread(Workers),
        postgres_dsn=(await any_config()).postgres_dsn,
        terms=terms,
        chunks=chunks,
    )
    with progress_bar(console, "portfolios", count) as advance:
        return await write_batch(batch, out, overwrite=overwrite, advance=advance)


async def _chunks(portfolio_ids: Sequence[str]) -> tuple[Sequence[Chunk], int]:
    """The portfolios named, or all that there are, and how many."""
    gateway = await joined()
    if portfolio_ids:
        named = list(dict.fromkeys(map(ids.portfolio_id, portfolio_ids)))
        return list(chunks_of_some(named, CHUNK_SIZE)), len(named)
    found = await patiently(gateway.portfolio_ids, PATIENCE)
    return list(chunks_of_all(found, CHUNK_SIZE)), sum(map(len, found.values()))
