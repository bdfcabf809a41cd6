"""Shards as Python clients and the bootstrap reach them: by their actor handles."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ray.exceptions import RayError

from actors.link_client import lost
from actors.protocol import WRITES, Answer, Method, unpack_answer
from portfolio.errors import Overloaded, ShardUnavailable
from portfolio.ids import ShardId
from serve_app.finding import find_shard

CALL_TIMEOUT_S: Final = 20.0
UNDER_WAY_MAX: Final = 2
"""Actor calls with writes to one shard: one is decided or on its way back while the other is committed."""
TOGETHER_MAX: Final = 100
TOGETHER_BYTES_MAX: Final = 1024 * 1024
"""Writes in one actor call: as many, and no more once they have come to as many bytes."""
WAITING_MAX: Final = 20_000
"""Writes of this process to one shard that wait to be sent; as many as wait in a shard itself."""

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


@dataclass(slots=True, eq=False)
class _Waiting:
    """A write that a caller waits for. A caller that has gone has cancelled its answer."""

    request: Request
    answer: asyncio.Future[bytes]
    is_sent: bool = False


class Lane:
    """The writes to one shard. An actor call costs far more than a write, so those that come meanwhile share the next.

    They would share a commit in any case; reads, which need not wait for anything, go alone.
    """

    def __init__(self, send: Callable[[Sequence[Request]], Awaitable[list[bytes]]]) -> None:
        self._send = send
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(self, method: Method, payload: bytes) -> bytes:
        """The packed answer. Raises what `send` raises, Overloaded, or ShardUnavailable if it could not be sent in time."""
        self._begin_anew_on(asyncio.get_running_loop())
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX:,} writes to one shard wait already", limit=WAITING_MAX)
        waiting = _Waiting((method.value, payload), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._set_out()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await waiting.answer
        except TimeoutError as error:
            if waiting.is_sent:
                raise lost(method, f"no answer within {CALL_TIMEOUT_S:g} s") from error
            raise ShardUnavailable(f"could not be sent within {CALL_TIMEOUT_S:g} s; nothing was booked") from error

    def _begin_anew_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what was left behind on an event loop that has ended: whoever waited there has gone."""
        if self._loop is not loop:
            self._loop = loop
            self._waiting.clear()
            self._under_way.clear()

    def _set_out(self) -> None:
        while len(self._under_way) < UNDER_WAY_MAX and (together := self._next()):
            task = asyncio.get_running_loop().create_task(self._deliver(together))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)

    def _next(self) -> list[_Waiting]:
        """What goes next. A caller that has gone may have asked somebody else; it must not be booked behind its back."""
        together: list[_Waiting] = []
        size = 0
        while self._waiting and len(together) < TOGETHER_MAX:
            waiting = self._waiting[0]
            if not waiting.answer.done():
                size += len(waiting.request[1])
                if together and size > TOGETHER_BYTES_MAX:
                    break
                waiting.is_sent = True
                together.append(waiting)
            self._waiting.popleft()
        return together

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._set_out()

    async def _deliver(self, together: Sequence[_Waiting]) -> None:
        try:
            answers = await self._send([waiting.request for waiting in together])
            for waiting, packed in zip(together, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(packed)
        except asyncio.CancelledError:
            for waiting in together:
                waiting.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is.
            for waiting in together:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
