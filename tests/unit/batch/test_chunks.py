"""Portfolios are cut into chunks, none left out, none twice."""

from __future__ import annotations

from cluster.batch.chunks import Chunk, Page, chunks_of_all, chunks_of_some
from portfolio.ids import PortfolioId, ShardId


def _ids(*names: str) -> tuple[PortfolioId, ...]:
    return tuple(map(PortfolioId, names))


def test_each_shard_is_cut_by_itself_and_each_chunk_knows_what_it_follows() -> None:
    found = {ShardId(0): _ids("A", "C", "E", "G", "I"), ShardId(1): (), ShardId(2): _ids("B")}
    assert list(chunks_of_all(found, 2)) == [
        Chunk(_ids("A", "C"), Page(ShardId(0), "")),
        Chunk(_ids("E", "G"), Page(ShardId(0), "C")),
        Chunk(_ids("I"), Page(ShardId(0), "G")),
        Chunk(_ids("B"), Page(ShardId(2), "")),
    ]


def test_portfolios_that_are_named_are_looked_for_one_by_one() -> None:
    assert list(chunks_of_some(_ids("Z", "A", "B"), 2)) == [Chunk(_ids("Z", "A")), Chunk(_ids("B"))]
    assert list(chunks_of_some((), 2)) == []
