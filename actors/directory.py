"""Finds the owner of each shard and keeps a link to it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from actors.link_client import LinkClient
from actors.protocol import Answer, Endpoint, Method
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId

CALL_TIMEOUT_S: Final = 10.0
_LOCATE_PAUSE_S: Final = 0.2
"""After a shard could not be found, others who ask in this time are told so without asking again."""


class Directory:
    """Calls shards over links. `locate` asks a shard's actor handle where it listens."""

    def __init__(self, locate: Callable[[ShardId], Awaitable[Endpoint]], *, node_id: str, link_secret: bytes) -> None:
        self._locate = locate
        self._node_id = node_id
        self._secret = link_secret
        self._links: dict[ShardId, LinkClient] = {}
        self._opening: dict[ShardId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._missing: dict[ShardId, tuple[float, ShardUnavailable]] = {}

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        """The answer of the shard's owner, errors raised. Raises ShardUnavailable if the owner cannot be found."""
        link = self._links.get(shard_id)
        if link is None or not link.is_open:
            link = await self._open(shard_id)
        return (await link.call(method, payload, CALL_TIMEOUT_S)).raised()

    async def _open(self, shard_id: ShardId) -> LinkClient:
        async with self._opening[shard_id]:
            link = self._links.get(shard_id)
            if link is not None and link.is_open:
                return link
            self._refuse_if_missing(shard_id)
            try:
                endpoint = await self._locate(shard_id)
                link = await LinkClient.connect(endpoint, self._node_id, self._secret)
            except ShardUnavailable as error:
                pause_s = 0.0 if "moving" in error.cause else _LOCATE_PAUSE_S
                self._missing[shard_id] = (asyncio.get_running_loop().time() + pause_s, error)
                raise
            self._links[shard_id] = link
            return link

    def _refuse_if_missing(self, shard_id: ShardId) -> None:
        until, error = self._missing.get(shard_id, (0.0, None))
        if error is not None and asyncio.get_running_loop().time() < until:
            raise ShardUnavailable(error.detail, **error.cause)

    def close(self) -> None:
        """End every link."""
        for link in self._links.values():
            link.close()
