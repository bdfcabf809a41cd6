"""The comparison service's cache: a portfolio's state in Redis, replaced by each update and read through."""

from __future__ import annotations

from typing import Final, cast

from redis.asyncio import Redis

from portfolio.ids import PortfolioId

TTL_S: Final = 3_600
"""Longer than a run, so that no read pays for an entry that has lapsed."""
_VERSION_BYTES: Final = 20

# Two updates may reach Redis in another order than they were committed in, and a reader may bring what is old by now.
_PUT: Final = """
if redis.call('GETRANGE', KEYS[1], 0, 19) > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'EX', ARGV[3])
return 1
"""


class Cache:
    """States by portfolio; each value begins with its version, 20 digits."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._put = redis.register_script(_PUT)

    async def get(self, portfolio_id: PortfolioId) -> bytes | None:
        """The state as JSON, if it is known."""
        found = cast(bytes | None, await self._redis.get(_key(portfolio_id)))
        return None if found is None else found[_VERSION_BYTES:]

    async def put(self, portfolio_id: PortfolioId, version: int, state: bytes) -> None:
        """Remember a state, unless a newer one is known."""
        await self._put(keys=[_key(portfolio_id)], args=[f"{version:020d}", state, TTL_S])


def _key(portfolio_id: PortfolioId) -> str:
    return f"peer:{portfolio_id}"
