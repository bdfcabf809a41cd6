"""Which shard a portfolio belongs to."""

from __future__ import annotations

from zlib import crc32

from portfolio.ids import PortfolioId, ShardId


def shard_of(portfolio_id: PortfolioId, shard_count: int) -> ShardId:
    """The shard of a portfolio: crc32 of the id's bytes, modulo the count that the cluster was created with.

    "PORTFOLIO-1" of 2 shards belongs to shard 0 on every machine and in every version.
    """
    return ShardId(crc32(portfolio_id.encode()) % shard_count)
