"""The mirror in Redis: what REST answers, for readers that need no guarantees, and the stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

from portfolio.ports import Fence, MirrorUnavailable, Picture

STREAM: Final = "portfolio:events"
STREAM_LENGTH_MAX: Final = 50_000
STATE_TTL_S: Final = 300
POSITIONS_TTL_S: Final = 60
WEIGHTS_TTL_S: Final = 300
VERSION_TTL_S: Final = 86_400
"""The guard outlives what it guards, so that an old picture cannot come back when the new one has expired."""
_TIMEOUT_S: Final = 1.0
_TRIM_INTERVAL_S: Final = 0.5
Result = TypeVar("Result")

# Versions are compared as zero-padded text, because a number in Lua holds 53 bits only.
_SHOW: Final = """
local shown = redis.call('GET', KEYS[1])
if shown and shown > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[6])
redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[7])
redis.call('SET', KEYS[4], ARGV[4], 'EX', ARGV[8])
return 1
"""

_ANNOUNCE: Final = """
local announced = redis.call('GET', KEYS[2])
if announced and announced > ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
for number = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'event', ARGV[number]) end
return 1
"""


class RedisMirror:
    """Implements ports.Mirror. Every call is bounded in time; none is ever awaited by a write."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            max_connections=4,
            retry=Retry(NoBackoff(), 0),
        )
        self._digest: str | None = None
        self._next_trim = 0.0
        self._announcing: AsyncScript | None = None

    async def server_run(self) -> str:
        """The run id of the Redis server, which is another after each restart."""
        info = await self._translated(self._redis.info("server"))
        return str(info["run_id"])

    async def show(self, pictures: Sequence[Picture]) -> None:
        """Replace what is older than each picture, a portfolio at a time but in one round trip."""
        await self._translated(self._show_or_teach(pictures))

    async def _show_or_teach(self, pictures: Sequence[Picture]) -> None:
        try:
            await self._show(pictures)
        except NoScriptError:
            # A server that was restarted has forgotten the script.
            self._digest = None
            await self._show(pictures)

    async def _show(self, pictures: Sequence[Picture]) -> None:
        if self._digest is None:
            self._digest = cast(str, await cast(Awaitable[Any], self._redis.script_load(_SHOW)))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for picture in pictures:
                pipeline.evalsha(self._digest, 4, *_keys(picture), *_arguments(picture))
            await pipeline.execute()

    async def announce(self, events: Sequence[bytes], fence: Fence) -> None:
        """Append events to the stream, in order: all of them or, once a later epoch has announced, none."""
        await self._translated(self._announce(events, fence))

    async def _announce(self, events: Sequence[bytes], fence: Fence) -> None:
        if not events:
            return
        if self._announcing is None:
            self._announcing = self._redis.register_script(_ANNOUNCE)
        keys = [STREAM, f"portfolio:shard:{fence.shard_id}:epoch"]
        epoch = f"{fence.epoch:020d}"
        await self._trim()
        if not await self._announcing(keys=keys, args=[epoch, VERSION_TTL_S, *events]):
            raise MirrorUnavailable(f"a later epoch of shard {fence.shard_id} than {fence.epoch} announces now")

    async def _trim(self) -> None:
        """Shorten the stream, now and then. Before anything is added: a server whose memory is full then has room again."""
        now = time.monotonic()
        if now >= self._next_trim:
            await self._redis.xtrim(STREAM, maxlen=STREAM_LENGTH_MAX, approximate=True)
            self._next_trim = now + _TRIM_INTERVAL_S

    async def _translated(self, doing: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(5 * _TIMEOUT_S):
                return await doing
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        except RuntimeError as error:
            # What uvloop says of a connection that was reset. redis-py does not know it for that, and would use it again.
            await self._redis.connection_pool.disconnect()
            raise _unavailable(error) from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


def _keys(picture: Picture) -> tuple[str, str, str, str]:
    prefix = f"portfolio:{picture.portfolio_id}"
    return f"{prefix}:version", f"{prefix}:state", f"{prefix}:positions", f"{prefix}:weights"


def _arguments(picture: Picture) -> tuple[bytes | str | int, ...]:
    place = f"{picture.version:020d}.{picture.revaluation:030d}"
    return (
        place,
        picture.state,
        picture.positions,
        picture.weights,
        VERSION_TTL_S,
        STATE_TTL_S,
        POSITIONS_TTL_S,
        WEIGHTS_TTL_S,
    )


def _unavailable(error: BaseException) -> MirrorUnavailable:
    return MirrorUnavailable(f"Redis does not answer: {error}")
