"""Portfolios, cut into what one task works through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from portfolio.ids import PortfolioId, ShardId


@dataclass(frozen=True, slots=True)
class Page:
    """Where a shard's books are found that follow each other: those after the id `after`."""

    shard_id: ShardId
    after: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some portfolios. With a page they are its first ones; without, they are wherever each one is."""

    portfolio_ids: tuple[PortfolioId, ...]
    page: Page | None = None


def chunks_of_all(found: Mapping[ShardId, Sequence[PortfolioId]], size: int) -> Iterator[Chunk]:
    """Every portfolio, given by shard and in order, up to `size` a chunk."""
    for shard_id, portfolio_ids in found.items():
        after = ""
        for start in range(0, len(portfolio_ids), size):
            chunk = tuple(portfolio_ids[start : start + size])
            yield Chunk(chunk, Page(shard_id, after))
            after = chunk[-1]


def chunks_of_some(portfolio_ids: Sequence[PortfolioId], size: int) -> Iterator[Chunk]:
    """Those portfolios, up to `size` a chunk."""
    for start in range(0, len(portfolio_ids), size):
        yield Chunk(tuple(portfolio_ids[start : start + size]))
