"""Which shard a portfolio belongs to, and in which shards' journals its rows may stand: a shard that came of doubling goes
on from a row of its parent's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from persistence.audit_values import ShardRecord
from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import ShardMap

_NO_END: Final = 2**63


class Lineage:
    """All shards, parents before children."""

    def __init__(self, shards: Sequence[ShardRecord]) -> None:
        self.shards: Mapping[ShardId, ShardRecord] = {shard.shard_id: shard for shard in shards}
        self._map = ShardMap({shard.shard_id: shard.modulus for shard in shards})

    @property
    def row_count(self) -> int:
        """How many rows the shards' journals should have together."""
        return sum(max(0, shard.head.seq - shard.branch.seq) for shard in self.shards.values())

    def in_order(self) -> list[ShardRecord]:
        """Every shard after the one that it branches off."""
        return sorted(self.shards.values(), key=lambda shard: (len(self._ancestry(shard.shard_id)), shard.shard_id))

    def owner_of(self, portfolio_id: PortfolioId) -> ShardId | None:
        """The one shard with crc32(id) mod its modulus equal to its number; None if there is none."""
        return self._map.find(portfolio_id)

    def last_rows(self, shard_id: ShardId) -> dict[ShardId, int]:
        """The last row in this shard's journal that may be of a portfolio of each shard: of its own no last one, of a
        descendant's the one where that line branched off.
        """
        found = {shard_id: _NO_END}
        for descendant in self.shards:
            line = self._ancestry(descendant)
            if shard_id in line[1:]:
                child = line[line.index(shard_id) - 1]
                found[descendant] = self.shards[child].branch.seq
        return found

    def children(self, shard_id: ShardId) -> list[ShardRecord]:
        """The shards that branched off this one."""
        return [shard for shard in self.shards.values() if shard.parent == shard_id]

    def _ancestry(self, shard_id: ShardId) -> list[ShardId]:
        """The shard, its parent, and so on; a circle ends it."""
        line = [shard_id]
        while (parent := self.shards[line[-1]].parent) is not None and parent not in line and parent in self.shards:
            line.append(parent)
        return line
