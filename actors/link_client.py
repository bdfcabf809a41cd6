"""The caller's end of the link: one connection, many calls under way."""

from __future__ import annotations

import asyncio
from typing import Final, cast

import msgspec

from actors import challenge
from actors.frames import FrameReader, FrameTooLargeError, framed
from actors.link_server import DISMISSAL, Request, Response
from actors.protocol import WRITES, Answer, Endpoint, Method
from portfolio.errors import OutcomeUnknown, PortfolioError, ShardUnavailable

_RESPONSES: Final = msgspec.msgpack.Decoder(Response)
_ENCODER: Final = msgspec.msgpack.Encoder()
_CONNECT_S: Final = 3.0


class LinkClient(asyncio.Protocol):
    """A connection to one incarnation of a shard. Once lost it stays lost; whoever holds it opens another."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._number = DISMISSAL
        self._is_dismissed = False
        self._waiting: dict[int, tuple[Method, asyncio.Future[Answer]]] = {}
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
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (method, answer)
        self._transport.write(framed(_ENCODER.encode(Request(number, method.value, msgspec.Raw(payload)))))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise lost(method, f"the shard did not answer within {timeout_s:g} s") from error
        finally:
            self._waiting.pop(number, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class, though they do all that it promises.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for method, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(lost(method, "the link to the shard was lost"))
                answer.exception()
        self._waiting.clear()
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
        _, answer = self._waiting.get(response.number, (None, None))
        if answer is not None and not answer.done():
            answer.set_result(response.answer)


def lost(method: Method, what: str) -> PortfolioError:
    """The error of a call whose answer will not come: a write may have been booked, a read cannot matter."""
    return (
        OutcomeUnknown(f"{what}; only a retry with the same key tells") if method in WRITES else ShardUnavailable(what)
    )
