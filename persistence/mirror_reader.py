"""What the mirror shows, read back: for checks, which compare it with what it should show."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from portfolio.ids import PortfolioId
from portfolio.ports import MirrorUnavailable

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A portfolio as the mirror shows it. What has expired is None; `place` is the guard, version and revaluation."""

    place: tuple[int, int] | None
    state: bytes | None
    positions: bytes | None
    weights: bytes | None

    @property
    def is_absent(self) -> bool:
        """Whether nothing is shown. The guard outlives what it guards."""
        return self.state is None and self.positions is None and self.weights is None


class MirrorReader:
    """Reads the keys that RedisMirror writes."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)

    async def read(self, portfolio_ids: Sequence[PortfolioId]) -> list[Shown]:
        """What is shown of each portfolio, in order; one portfolio's keys are of one moment. Raises MirrorUnavailable."""
        try:
            return await asyncio.wait_for(self._read(portfolio_ids), _TIMEOUT_S)
        except (RedisError, OSError, TimeoutError) as error:
            raise MirrorUnavailable(f"Redis does not answer: {error}") from error

    async def _read(self, portfolio_ids: Sequence[PortfolioId]) -> list[Shown]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for portfolio_id in portfolio_ids:
                pipeline.mget(
                    [f"portfolio:{portfolio_id}:{part}" for part in ("version", "state", "positions", "weights")]
                )
            answers = cast(list[list[bytes | None]], await cast(Awaitable[Any], pipeline.execute()))
        return [Shown(_place(guard), state, positions, weights) for guard, state, positions, weights in answers]

    async def close(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()


def _place(guard: bytes | None) -> tuple[int, int] | None:
    """The version and revaluation of a guard; one that nobody of ours has written counts as none."""
    version, _, revaluation = (guard or b"").partition(b".")
    return (int(version), int(revaluation)) if version.isdigit() and revaluation.isdigit() else None
