"""How long the service was away because of a fault, as its clients saw it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from portfolio.ids import PortfolioId, ShardId
from portfolio.sharding import shard_of

Moments = Sequence[float]
RESOLUTION_S: Final = 0.5
"""A shard that is well acknowledges something at least this often; what begins this close to a fault is its doing."""


def acknowledgements(acknowledged_at: Iterable[tuple[float, str]], shard_count: int) -> dict[ShardId, list[float]]:
    """When each shard acknowledged something, in order."""
    found: dict[ShardId, list[float]] = defaultdict(list)
    for at, portfolio_id in acknowledged_at:
        found[shard_of(PortfolioId(portfolio_id), shard_count)].append(at)
    return found


def absence(by_shard: Iterable[Moments], since: float, until: float) -> float | None:
    """The longest silence of a shard that began while a fault lasted, from `since` to `until`.

    None if no shard was there to fall silent: then the silence is that of an earlier fault, which this one fell into.
    """
    silences = [silence for moments in by_shard for silence in _silences(moments, since, until)]
    return max(silences, default=None)


def _silences(moments: Moments, since: float, until: float) -> list[float]:
    first = bisect_left(moments, since - RESOLUTION_S)
    last = bisect_right(moments, until + RESOLUTION_S) + 1
    return [after - before for before, after in pairwise(moments[first:last])]
