"""Shards as Python clients and the bootstrap reach them: by their actor handles."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from ray.exceptions import RayError

from actors.link_client import lost
from actors.protocol import Answer, Method, unpack_answer
from portfolio.ids import ShardId
from serve_app.finding import find_shard

CALL_TIMEOUT_S: Final = 20.0


class HandleCaller:
    """Calls shards by actor handles, which are looked up once. Implements gateway.ShardCaller."""

    def __init__(self, handles: Mapping[ShardId, Any] | None = None) -> None:
        self._handles: dict[ShardId, Any] = dict(handles or {})

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        """The answer of the shard's owner, errors raised. Raises ShardUnavailable, or OutcomeUnknown for a write."""
        handle = self._handles.get(shard_id) or await self._find(shard_id)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                packed: bytes = await handle.call.remote(method.value, payload)
        except (RayError, TimeoutError) as error:
            # An actor that was made anew has another handle; and the call may have been executed all the same.
            self._handles.pop(shard_id, None)
            raise lost(method, f"shard {shard_id} did not answer: {type(error).__name__}") from error
        answer = unpack_answer(packed)
        if answer.fault is not None and "moving" in answer.fault.cause:
            self._handles.pop(shard_id, None)
        return answer.raised()

    async def _find(self, shard_id: ShardId) -> Any:
        handle = self._handles[shard_id] = await find_shard(shard_id)
        return handle
