"""The caller's end of the link: one connection, many calls under way."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, cast

import msgspec

from actors import challenge
from actors.frames import FrameReader, FrameTooLargeError, framed
from actors.link_server import DISMISSAL, Request, Response
from actors.protocol import WRITES, Answer, Endpoint, Method
from portfolio.errors import OutcomeUnknown, PortfolioError, ShardUnavailable

_RESPONSES: Final = msgspec.msgpack.Decoder(Response)
_ENCODER: Final = msgspec.msgpack.Encoder()
_CONNECT_S: Final = 3.0
_LOOK_S: Final = 0.05
"""How often calls under way are looked at for those that have taken too long.

One timer for all: one for each call would take a third of the time that the whole call takes here.
"""


class _Call(NamedTuple):
    """A call under way: it is given up at `ends`, on the loop's clock, having waited for `timeout_s`."""

    method: Method
    answer: asyncio.Future[Answer]
    ends: float
    timeout_s: float


class LinkClient(asyncio.Protocol):
    """A connection to one incarnation of a shard. Once lost it stays lost; whoever holds it opens another."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._number = DISMISSAL
        self._is_dismissed = False
        self._calls: dict[int, _Call] = {}
        self._is_watched = False
        self._greeting: asyncio.Queue[bytes] | None = None

    @classmethod
    async def connect(cls, endpoint: Endpoint, node_id: str, secret: bytes) -> LinkClient:
        """A link to `endpoint`: its Unix socket from the same node, else TCP. Raises ShardUnavailable."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                if endpoint.node_id == node_id:
                    return await cls._connect_unix(endpoint.socket_path)
                return await cls._connect_tcp(endpoint.host, endpoint.port, secret)
        except (OSError, TimeoutError, FrameTooLargeError) as error:
            raise ShardUnavailable(f"the shard's link does not open: {error}") from error

    @classmethod
    async def _connect_unix(cls, path: str) -> LinkClient:
        _, link = await asyncio.get_running_loop().create_unix_connection(cls, path)
        return link

    @classmethod
    async def _connect_tcp(cls, host: str, port: int, secret: bytes) -> LinkClient:
        def greeted() -> LinkClient:
            link = cls()
            link._greeting = asyncio.Queue(2)
            return link

        _, link = await asyncio.get_running_loop().create_connection(greeted, host, port)
        try:
            await link._prove(secret)
        except BaseException:
            link.close()
            raise
        return link

    async def _prove(self, secret: bytes) -> None:
        server_nonce, client_nonce = await self._greeted(), challenge.nonce()
        self._send(client_nonce + challenge.client_proof(secret, server_nonce, client_nonce))
        if not challenge.matches(await self._greeted(), challenge.server_proof(secret, server_nonce, client_nonce)):
            raise PermissionError("the shard does not have the cluster's secret")
        self._greeting = None

    async def _greeted(self) -> bytes:
        """The other side's next word in the challenge. Raises ConnectionError if it has hung up."""
        word = await self._greeting.get() if self._greeting is not None else b""
        if not word:
            raise ConnectionError("the other side hung up during the challenge: the secrets may differ")
        return word

    def _send(self, content: bytes) -> None:
        if self._transport is None:
            raise ConnectionError("the connection is gone")
        self._transport.write(framed(content))

    @property
    def is_open(self) -> bool:
        """Whether calls should be sent here."""
        return self._transport is not None and not self._transport.is_closing() and not self._is_dismissed

    def close(self) -> None:
        """End the connection; calls under way fail."""
        if self._transport is not None:
            self._transport.close()

    async def call(self, method: Method, payload: bytes, timeout_s: float) -> Answer:
        """The shard's answer. Raises ShardUnavailable if nothing was sent, or nothing can have been booked;
        OutcomeUnknown for a write whose answer did not come.
        """
        if self._transport is None or self._transport.is_closing():
            raise ShardUnavailable("the link to the shard is closed")
        self._number += 1
        number = self._number
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._calls[number] = _Call(method, answer, loop.time() + timeout_s, timeout_s)
        self._watch()
        self._transport.write(framed(_ENCODER.encode(Request(number, method.value, msgspec.Raw(payload)))))
        try:
            return await answer
        finally:
            self._calls.pop(number, None)

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for call in self._calls.values():
            if call.ends <= now:
                _fail(call, f"the shard did not answer within {call.timeout_s:g} s")
        self._is_watched = False
        if self._calls:
            self._watch()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class, though they do all that it promises.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for call in self._calls.values():
            _fail(call, "the link to the shard was lost")
        self._calls.clear()
        if self._greeting is not None and not self._greeting.full():
            self._greeting.put_nowait(b"")

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                if self._greeting is not None:
                    self._greeting.put_nowait(frame)
                else:
                    self._settle(_RESPONSES.decode(frame))
        except (FrameTooLargeError, msgspec.MsgspecError, asyncio.QueueFull):
            if self._transport is not None:
                self._transport.abort()

    def _settle(self, response: Response) -> None:
        self._is_dismissed |= response.number == DISMISSAL
        call = self._calls.get(response.number)
        if call is not None and not call.answer.done():
            call.answer.set_result(response.answer)


def _fail(call: _Call, what: str) -> None:
    if not call.answer.done():
        call.answer.set_exception(lost(call.method, what))
        # Whoever asked may have gone; then nobody is to be told of an error that was never looked at.
        call.answer.exception()


def lost(method: Method, what: str) -> PortfolioError:
    """The error of a call whose answer will not come: a write may have been booked, a read cannot matter."""
    return (
        OutcomeUnknown(f"{what}; only a retry with the same key tells") if method in WRITES else ShardUnavailable(what)
    )
