"""A batch as a whole: every chunk's rows are in the file, whatever became of its first tries; or there is no file."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analytics.document import AnalysisTerms
from cluster.batch.chunks import Chunk
from cluster.batch.job import Part, analyse_chunk, read_panel
from cluster.batch.run import AHEAD, Batch, Summary, write_batch
from cluster.batch.table import rows
from cluster.patience import Patience
from portfolio.errors import AnalyticsUnavailable, PortfolioNotFound
from portfolio.ids import PortfolioId
from tests.oracles.analytics_documents import analytics_of

TERMS = AnalysisTerms(window=60)
PATIENT = Patience(total_s=30, pause_first_s=0.001, pause_max_s=0.001)
BRIEF = replace(PATIENT, total_s=0.05)
"""Where no worker outlives a chunk: on a busy machine it may be over after the first try."""


class Workers:
    """Workers in this process; `mishaps` are raised by the next tries of the chunk that begins with the id."""

    count = 2

    def __init__(self, mishaps: dict[str, list[Exception]] | None = None) -> None:
        self._mishaps = mishaps or {}
        self._under_way = 0
        self.most_under_way = 0
        self.tries: Counter[str] = Counter()

    def submit(self, job: Callable[..., Any], *arguments: Any) -> str:
        assert (job, *arguments) == (read_panel, "dsn")
        return "the panel"

    async def run(self, job: Callable[..., Any], *arguments: Any, timeout_s: float) -> Part:
        assert job is analyse_chunk
        assert timeout_s > 0
        dsn, chunk, panel, terms = arguments
        assert (dsn, panel, terms) == ("dsn", "the panel", TERMS)
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        await asyncio.sleep(0.001)
        self._under_way -= 1
        first = chunk.portfolio_ids[0]
        self.tries[first] += 1
        if mishaps := self._mishaps.get(first):
            raise mishaps.pop()
        quarantined = {name: "?" for name in chunk.portfolio_ids if name.startswith("Q")}
        documents = [analytics_of(name) for name in chunk.portfolio_ids if name not in quarantined]
        return Part(rows(documents, quarantined), len(quarantined), '{"ddof":1}' if documents else None)


def _batch(workers: Workers, *chunks: str, patience: Patience = PATIENT) -> Batch:
    cut = [Chunk(tuple(map(PortfolioId, chunk.split()))) for chunk in chunks]
    return Batch(workers=workers, postgres_dsn="dsn", terms=TERMS, chunks=cut, patience=patience)


async def _write(batch: Batch, path: Path) -> tuple[Summary, list[int]]:
    told: list[int] = []
    return await write_batch(batch, path, overwrite=False, advance=told.append), told


async def test_every_portfolio_has_its_row_in_order(tmp_path: Path) -> None:
    path = tmp_path / "risk.parquet"
    batch = _batch(Workers(), "A B", "Q1 C", "D", "Q2")
    summary, told = await _write(batch, path)
    assert summary == Summary(portfolios=6, quarantined=2)
    assert told == [2, 2, 1, 1]
    assert batch.portfolio_count == 6
    found = pl.read_parquet(path)
    assert found["portfolio_id"].to_list() == ["A", "B", "C", "Q1", "D", "Q2"]
    assert pl.read_parquet_metadata(path)["conventions"] == '{"ddof":1}'


async def test_a_chunk_whose_workers_die_is_begun_again(tmp_path: Path) -> None:
    dead = AnalyticsUnavailable("the workers failed: WorkerCrashedError")
    workers = Workers({"C": [dead, dead, dead]})
    await _write(_batch(workers, "A B", "C D", "E"), tmp_path / "risk.parquet")
    assert workers.tries == {"A": 1, "C": 4, "E": 1}
    assert pl.read_parquet(tmp_path / "risk.parquet")["portfolio_id"].to_list() == list("ABCDE")


async def test_a_chunk_that_no_worker_outlives_is_named_and_there_is_no_file(tmp_path: Path) -> None:
    workers = Workers({"C": [AnalyticsUnavailable("the workers failed")] * 1_000})
    with pytest.raises(AnalyticsUnavailable, match="the workers failed, with the portfolios from C to D"):
        await _write(_batch(workers, "A B", "C D", "E", patience=BRIEF), tmp_path / "risk.parquet")
    assert list(tmp_path.iterdir()) == []


async def test_what_trying_again_does_not_mend_is_not_tried_again(tmp_path: Path) -> None:
    workers = Workers({"A": [PortfolioNotFound("there is no portfolio A")]})
    with pytest.raises(PortfolioNotFound):
        await _write(_batch(workers, "A"), tmp_path / "risk.parquet")
    assert workers.tries == {"A": 1}
    assert list(tmp_path.iterdir()) == []


async def test_no_more_chunks_are_under_way_than_may_be_in_memory(tmp_path: Path) -> None:
    workers = Workers()
    await _write(_batch(workers, *map(str, range(3 * AHEAD * workers.count))), tmp_path / "risk.parquet")
    assert workers.most_under_way == AHEAD * workers.count
