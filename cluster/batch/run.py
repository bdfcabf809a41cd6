"""The whole batch: from the list of portfolios to the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from analytics import tasks
from analytics.document import AnalysisTerms
from analytics.worker_environment import BATCH
from cluster.attaching import gateway_by_handles
from cluster.batch.chunks import Chunk, chunks_of_all, chunks_of_some
from cluster.batch.in_order import in_order
from cluster.batch.job import Part, analyse_chunk, read_panel
from cluster.batch.parquet_file import whole_parquet
from cluster.batch.reading import PATIENCE
from cluster.batch.table import SCHEMA
from cluster.patience import Patience, patiently
from portfolio.errors import AnalyticsUnavailable
from portfolio.ids import PortfolioId
from serve_app.finding import any_config

CHUNK_SIZE: Final = 100
"""Portfolios a task: about half a second, which is all that is lost with a worker."""
AHEAD: Final = 4
"""Chunks in memory for each worker, under way or waiting for those before them."""
TIMEOUT_S: Final = 900.0
"""A task that takes as long hangs, and is begun again. Waiting for a shard that is away takes a tenth of it."""


class Workers(Protocol):
    """The cluster's analytics workers; see analytics.tasks."""

    count: int

    async def run(self, job: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any: ...

    def submit(self, job: Callable[..., Any], *arguments: Any) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is asked of which cluster: the figures of all portfolios there, or of some, on these terms."""

    workers: Workers
    postgres_dsn: str = field(repr=False)
    terms: AnalysisTerms
    chunks: Sequence[Chunk]
    patience: Patience = PATIENCE

    @property
    def portfolio_count(self) -> int:
        """How many rows there will be."""
        return sum(len(chunk.portfolio_ids) for chunk in self.chunks)


@dataclass(slots=True)
class Summary:
    """What the file has: portfolios, and how many of them are in quarantine and have no figures."""

    portfolios: int = 0
    quarantined: int = 0


async def batch_here(portfolio_ids: Sequence[PortfolioId], terms: AnalysisTerms) -> Batch:
    """A batch on the service of the Ray that this process has joined; no ids: of all portfolios.

    Raises ShardUnavailable, or RayError.
    """
    if portfolio_ids:
        chunks = chunks_of_some(list(dict.fromkeys(portfolio_ids)), CHUNK_SIZE)
    else:
        gateway = await patiently(gateway_by_handles, PATIENCE)
        chunks = chunks_of_all(await patiently(gateway.portfolio_ids, PATIENCE), CHUNK_SIZE)
    return Batch(
        workers=await asyncio.to_thread(tasks.Workers, BATCH),
        postgres_dsn=(await patiently(any_config, PATIENCE)).postgres_dsn,
        terms=terms,
        chunks=list(chunks),
    )


async def write_batch(batch: Batch, path: Path, *, overwrite: bool, advance: Callable[[int], None]) -> Summary:
    """Write the figures to `path`, a row a portfolio; `advance` is told of rows as they come.

    A chunk is begun again if its worker dies, and waits for a shard or a database that is away. Raises FileNotWritten,
    PortfolioNotFound, or Unavailable if a chunk could not be done for 90 s; then there is no file.
    """
    summary = Summary()
    with whole_parquet(path, SCHEMA, overwrite=overwrite) as file:
        async with aclosing(in_order(_calls(batch), AHEAD * batch.workers.count)) as parts:
            async for part in parts:
                file.add(part.rows)
                if part.conventions is not None:
                    file.notes["conventions"] = part.conventions
                summary.portfolios += len(part.rows)
                summary.quarantined += part.quarantined
                advance(len(part.rows))
    return summary


def _calls(batch: Batch) -> Iterator[Callable[[], Any]]:
    panel = batch.workers.submit(read_panel, batch.postgres_dsn)
    for chunk in batch.chunks:
        yield partial(_analysed, batch, chunk, panel)


async def _analysed(batch: Batch, chunk: Chunk, panel: Any) -> Part:
    async def once() -> Part:
        part: Part = await batch.workers.run(
            analyse_chunk, batch.postgres_dsn, chunk, panel, batch.terms, timeout_s=TIMEOUT_S
        )
        return part

    try:
        return await patiently(once, batch.patience)
    except AnalyticsUnavailable as error:
        first, last = chunk.portfolio_ids[0], chunk.portfolio_ids[-1]
        raise AnalyticsUnavailable(f"{error.detail}, with the portfolios from {first} to {last}") from error
