"""Analytics in Redis: the same JSON as REST answers, for those who read there and to spare computing it twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from persistence.redis_mirror import VERSION_TTL_S
from portfolio.ids import PortfolioId

ANALYTICS_TTL_S: Final = 900
TIMEOUT_S: Final = 0.1
"""Computing takes less than a Redis that answers later."""
REST_S: Final = 5.0
"""How long a Redis that has failed is left alone."""
_SOCKET_TIMEOUT_S: Final = 10 * TIMEOUT_S
_CONNECTIONS_MAX: Final = 4

# As in the mirror, places are compared as zero-padded text, here without the terms behind them.
_SHOW: Final = """
local shown = redis.call('GET', KEYS[1])
if shown and string.match(shown, '^%S+') > string.match(ARGV[1], '^%S+') then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Which figures are meant: a portfolio's at a version and revaluation, with the prices of a generation, on some terms.

    `terms` stands for what the caller chose; on the service's `usual` terms they lie under the key that is made known.
    """

    portfolio_id: PortfolioId
    version: int
    revaluation: int
    generation: int
    terms: str
    is_usual: bool

    @property
    def keys(self) -> tuple[str, str]:
        """The key that says of what the document is, and the document's."""
        document = f"portfolio:{self.portfolio_id}:analytics"
        if not self.is_usual:
            document = f"{document}:{self.terms}"
        return f"{document}:version", document

    @property
    def place(self) -> str:
        """Later figures on the same terms sort after earlier ones."""
        return f"{self.version:020d}.{self.revaluation:030d}.{self.generation:020d} {self.terms}"


class RedisAnalyticsCache:
    """Every call is bounded in time and none raises: while Redis is away, nothing is found and nothing kept."""

    def __init__(self, url: str) -> None:
        # Callers beyond these wait for one another: a pool that refuses them would pass for a Redis that is away.
        connections = BlockingConnectionPool.from_url(
            url,
            # Longer than a call may take, which is what ends it.
            socket_timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_SOCKET_TIMEOUT_S,
            max_connections=_CONNECTIONS_MAX,
            timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(connections)
        self._showing = self._redis.register_script(_SHOW)
        self._rests_until = 0.0

    async def find(self, wanted: Figures) -> bytes | None:
        """The document, if it is there and of exactly these figures."""
        found = await self._bounded(lambda: self._redis.mget(wanted.keys))
        if found is None:
            return None
        place, document = found
        return document if place == wanted.place.encode() else None

    async def keep(self, figures: Figures, document: bytes) -> None:
        """Show a document, unless a later one is shown."""
        arguments: list[bytes | str | int] = [figures.place, document, VERSION_TTL_S, ANALYTICS_TTL_S]
        await self._bounded(lambda: self._showing(keys=list(figures.keys), args=arguments))

    async def _bounded(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What the call gives; None if Redis does not answer, or did not a moment ago."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await call()
        except (RedisError, OSError, TimeoutError):
            self._rests_until = time.monotonic() + REST_S
        except RuntimeError:
            # What uvloop says of a connection that was reset. redis-py does not know it for that, and would use it again.
            await self._redis.connection_pool.disconnect()
        return None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()
