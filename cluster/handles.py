"""Shards as Python clients and the bootstrap reach them: by their actor handles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ray.exceptions import RayError

from actors.link_client import lost
from actors.protocol import WRITES, Answer, Method, unpack_answer
from portfolio.ids import ShardId
from serve_app.finding import find_shard

CALL_TIMEOUT_S: Final = 20.0
UNDER_WAY_MAX: Final = 2
"""Actor calls with writes to one shard: one is decided or on its way back while the other is committed."""
TOGETHER_MAX: Final = 100
TOGETHER_BYTES_MAX: Final = 1024 * 1024
"""Writes in one actor call: as many, and no more once they have come to as many bytes."""

Request = tuple[str, bytes]


class HandleCaller:
    """Calls shards by actor handles, which are looked up once. Implements gateway.ShardCaller."""

    def __init__(self, handles: Mapping[ShardId, Any] | None = None) -> None:
        self._handles: dict[ShardId, Any] = dict(handles or {})
        self._lanes: dict[ShardId, Lane] = {}

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        """The answer of the shard's owner, errors raised. Raises ShardUnavailable, or OutcomeUnknown for a write."""
        if method in WRITES:
            packed = await self._lane(shard_id).call(method, payload)
        else:
            (packed,) = await self._ask(shard_id, [(method.value, payload)])
        answer = unpack_answer(packed)
        if answer.fault is not None and "moving" in answer.fault.cause:
            self._handles.pop(shard_id, None)
        return answer.raised()

    def _lane(self, shard_id: ShardId) -> Lane:
        lane = self._lanes.get(shard_id)
        if lane is None:
            lane = self._lanes[shard_id] = Lane(lambda requests: self._ask(shard_id, requests))
        return lane

    async def _ask(self, shard_id: ShardId, requests: Sequence[Request]) -> list[bytes]:
        handle = self._handles.get(shard_id) or await self._find(shard_id)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answers: list[bytes] = await handle.calls.remote(requests)
                return answers
        except (RayError, TimeoutError) as error:
            # An actor that was made anew has another handle; and the call may have been executed all the same.
            self._handles.pop(shard_id, None)
            # Reads are asked alone, so what holds of the first holds of all.
            raise lost(Method(requests[0][0]), f"shard {shard_id} did not answer: {type(error).__name__}") from error

    async def _find(self, shard_id: ShardId) -> Any:
        handle = self._handles[shard_id] = await find_shard(shard_id)
        return handle


class _Waiting(NamedTuple):
    request: Request
    answer: asyncio.Future[bytes]


class Lane:
    """The writes to one shard. An actor call costs far more than a write, so those that come meanwhile share the next.

    They would share a commit in any case; reads, which need not wait for anything, go alone.
    """

    def __init__(self, send: Callable[[Sequence[Request]], Awaitable[list[bytes]]]) -> None:
        self._send = send
        self._waiting: list[_Waiting] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def call(self, method: Method, payload: bytes) -> bytes:
        """The packed answer. Raises what `send` raises."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting((method.value, payload), answer))
        self._set_out()
        return await answer

    def _set_out(self) -> None:
        while self._waiting and len(self._under_way) < UNDER_WAY_MAX:
            task = asyncio.get_running_loop().create_task(self._deliver(self._next()))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)

    def _next(self) -> list[_Waiting]:
        size = count = 0
        for waiting in self._waiting[:TOGETHER_MAX]:
            size += len(waiting.request[1])
            if count and size > TOGETHER_BYTES_MAX:
                break
            count += 1
        together, self._waiting = self._waiting[:count], self._waiting[count:]
        return together

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._set_out()

    async def _deliver(self, together: Sequence[_Waiting]) -> None:
        # A caller that went away has cancelled its future.
        try:
            answers = await self._send([waiting.request for waiting in together])
        except asyncio.CancelledError:
            for _, answer in together:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is.
            for _, answer in together:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), packed in zip(together, answers, strict=True):
            if not answer.done():
                answer.set_result(packed)
