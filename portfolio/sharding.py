"""Which shard a portfolio belongs to, also while the number of shards is being doubled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self
from zlib import crc32

from portfolio.ids import PortfolioId, ShardId


def shard_of(portfolio_id: PortfolioId, modulus: int) -> ShardId:
    """The shard of a portfolio among `modulus` of them: crc32 of the id's bytes, modulo their number.

    "PORTFOLIO-1" of 2 shards belongs to shard 0 on every machine and in every version.
    """
    return ShardId(crc32(portfolio_id.encode()) % modulus)


class ShardMap:
    """The modulus of every shard. A portfolio belongs to the one shard whose modulus maps it there.

    Of two shards, shard 0 has split into 0 and 2: then the moduli are {0: 4, 1: 2, 2: 4}, and each portfolio still
    belongs to one of the three.
    """

    def __init__(self, moduli: Mapping[ShardId, int]) -> None:
        self.moduli = dict(moduli)
        self._distinct = sorted(set(moduli.values()))

    @classmethod
    def even(cls, count: int) -> Self:
        """`count` shards, none of which is splitting."""
        return cls({ShardId(number): count for number in range(count)})

    def __len__(self) -> int:
        return len(self.moduli)

    @property
    def shard_ids(self) -> list[ShardId]:
        """Every shard, in order."""
        return sorted(self.moduli)

    def shard_of(self, portfolio_id: PortfolioId) -> ShardId:
        """The shard of a portfolio."""
        shard_id = self.find(portfolio_id)
        assert shard_id is not None, f"no shard of {self.moduli} has {portfolio_id}"
        return shard_id

    def find(self, portfolio_id: PortfolioId) -> ShardId | None:
        """The shard of a portfolio; None if the moduli leave it without one, as no service would."""
        for modulus in self._distinct:
            shard_id = shard_of(portfolio_id, modulus)
            if self.moduli.get(shard_id) == modulus:
                return shard_id
        return None

    def split(self, shard_id: ShardId) -> ShardMap:
        """The map after a shard has split in two: itself, and the one whose number is higher by its old modulus."""
        modulus = self.moduli[shard_id]
        return ShardMap({**self.moduli, shard_id: 2 * modulus, sibling_of(shard_id, modulus): 2 * modulus})


def sibling_of(shard_id: ShardId, modulus: int) -> ShardId:
    """The shard that takes half of the portfolios of `shard_id`, whose modulus was `modulus`, when it splits."""
    return ShardId(shard_id + modulus)
