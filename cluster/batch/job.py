"""What a task does: it reads a chunk of portfolios and computes their figures. It runs on an analytics worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import msgspec
import polars as pl

from analytics.document import AnalysisTerms, PortfolioAnalytics
from analytics.frames import prices
from analytics.panel import PricePanel, price_panel
from cluster.batch import table
from cluster.batch.chunks import Chunk
from cluster.batch.reading import PATIENCE, Life, reader
from cluster.patience import patiently
from persistence import postgres
from persistence.price_store import PostgresPriceStore


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a chunk, how many of them are of portfolios in quarantine, and the conventions of the others as JSON."""

    rows: pl.DataFrame
    quarantined: int
    conventions: str | None


def read_panel(postgres_dsn: str) -> PricePanel:
    """All daily prices, once for all chunks."""
    return price_panel(prices(asyncio.run(_closes(postgres_dsn))))


async def _closes(postgres_dsn: str) -> bytes:
    async with postgres.pool(postgres_dsn, size_max=1) as connections:
        store = PostgresPriceStore(connections)
        return await patiently(lambda: store.closes_csv(None, date.min, date.max), PATIENCE)


def analyse_chunk(postgres_dsn: str, chunk: Chunk, panel: PricePanel, terms: AnalysisTerms) -> Part:
    """The figures of a chunk. Raises ShardUnavailable once a shard or Postgres has been away for longer than patience."""
    return asyncio.run(_analysed(postgres_dsn, chunk, panel, terms))


async def _analysed(postgres_dsn: str, chunk: Chunk, panel: PricePanel, terms: AnalysisTerms) -> Part:
    async with reader(postgres_dsn) as source:
        found = await source.books(chunk)
        documents = [
            document
            async for lives in source.lives(found.books.values())
            for document in _documents(lives, panel, terms)
        ]
    conventions = msgspec.json.encode(documents[0].conventions).decode() if documents else None
    return Part(table.rows(documents, found.quarantined), len(found.quarantined), conventions)


def _documents(lives: Sequence[Life], panel: PricePanel, terms: AnalysisTerms) -> list[PortfolioAnalytics]:
    # The command line imports this module to name what workers are to do, and can do without JAX.
    from analytics.analysis import analyse  # noqa: PLC0415

    return analyse(lives, panel, terms)
