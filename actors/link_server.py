"""The shard's end of the link: a Unix socket for its own node, TCP behind a challenge for the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
import weakref
from pathlib import Path
from typing import Final, cast

import msgspec

from actors import challenge
from actors.frames import FrameReader, FrameTooLargeError, framed
from actors.protocol import Answer, refusal
from actors.service import Service
from portfolio.errors import Overloaded

_log = logging.getLogger(__name__)
_REQUESTS_MAX: Final = 2_000
_HANDSHAKE_S: Final = 5.0
_HANDSHAKE_BYTES_MAX: Final = 1_024


class Request(msgspec.Struct, array_like=True, frozen=True):
    """One call on a link; `number` comes back with its answer."""

    number: int
    method: str
    payload: msgspec.Raw


DISMISSAL: Final = 0
"""The number of an answer that nobody asked for: the shard has moved, and later calls should go where it is now."""


class Response(msgspec.Struct, array_like=True, frozen=True):
    """The answer to the call of that number."""

    number: int
    answer: Answer


_REQUESTS: Final = msgspec.msgpack.Decoder(Request)
_ENCODER: Final = msgspec.msgpack.Encoder()


class LinkServer:
    """Listens for links to one shard. `start` gives the socket's path and the TCP port."""

    def __init__(self, service: Service, secret: bytes, socket_dir: Path, host: str) -> None:
        self._service = service
        self._secret = secret
        self._socket_path = socket_dir / f"{uuid.uuid4().hex[:16]}.sock"
        self._host = host
        self._servers: list[asyncio.Server] = []
        self._links: weakref.WeakSet[_Link] = weakref.WeakSet()

    async def start(self) -> tuple[Path, int]:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        _make_closed(self._socket_path.parent)
        unix = await loop.create_unix_server(lambda: self._linked(None), str(self._socket_path))
        tcp = await loop.create_server(lambda: self._linked(self._secret), self._host, 0)
        self._servers = [unix, tcp]
        return self._socket_path, cast(int, tcp.sockets[0].getsockname()[1])

    def _linked(self, secret: bytes | None) -> _Link:
        link = _Link(self._service, secret)
        self._links.add(link)
        return link

    def hang_up(self) -> None:
        """Stop listening, and send every caller away to look for the new owner.

        What they have sent already is still answered: cut off, they could not know that nothing was booked.
        """
        self.close()
        for link in self._links:
            link.dismiss()

    def close(self) -> None:
        """Stop listening, and take the socket's file away."""
        for server in self._servers:
            server.close()
        with contextlib.suppress(FileNotFoundError):
            self._socket_path.unlink()


def _make_closed(directory: Path) -> None:
    """Make a directory for sockets, and the one that it is in, if they are not there.

    On a node where nothing of ours has run before, whoever made them first could put a socket of his own in our place.
    Raises PermissionError if that was somebody else, or if others may enter.
    """
    for made in (directory.parent, directory):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        if made.lstat().st_uid != os.geteuid():
            raise PermissionError(f"{made} is not ours: it has to be removed first")
    if directory.lstat().st_mode & 0o077:
        raise PermissionError(f"{directory} must be closed to others (mode 0700)")


class _Link(asyncio.Protocol):
    """One connection. With a secret, nothing is answered before the other side has proved that it has it too."""

    def __init__(self, service: Service, secret: bytes | None) -> None:
        self._service = service
        self._secret = secret
        self._is_trusted = secret is None
        self._server_nonce = challenge.nonce()
        self._frames = FrameReader() if secret is None else FrameReader(_HANDSHAKE_BYTES_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None
        self._handshake_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._is_trusted:
            self._transport.write(framed(self._server_nonce))
            self._handshake_timer = asyncio.get_running_loop().call_later(_HANDSHAKE_S, self._give_up)

    def dismiss(self) -> None:
        """Have the caller open no more calls here."""
        if self._is_trusted:
            self._reply(DISMISSAL, Answer())

    def _give_up(self) -> None:
        if not self._is_trusted and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        # Commands go on without their caller: what was taken in will be booked.
        self._transport = None
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                if self._is_trusted:
                    self._take(_REQUESTS.decode(frame))
                else:
                    self._prove(frame)
        except (FrameTooLargeError, msgspec.MsgspecError, PermissionError) as error:
            _log.warning("a link was closed: %s", error)
            if self._transport is not None:
                self._transport.abort()

    def _prove(self, frame: bytes) -> None:
        if self._secret is None or self._transport is None:
            return
        client_nonce, proof = frame[: challenge.NONCE_BYTES], frame[challenge.NONCE_BYTES :]
        expected = challenge.client_proof(self._secret, self._server_nonce, client_nonce)
        if len(client_nonce) != challenge.NONCE_BYTES or not challenge.matches(proof, expected):
            raise PermissionError("the other side does not have the cluster's secret")
        self._is_trusted = True
        self._transport.write(framed(challenge.server_proof(self._secret, self._server_nonce, client_nonce)))
        self._frames = FrameReader()

    def _take(self, request: Request) -> None:
        answer = self._service.read(request.method, request.payload)
        if answer is None and len(self._tasks) >= _REQUESTS_MAX:
            answer = refusal(Overloaded(f"{_REQUESTS_MAX:,} calls are under way on this link", limit=_REQUESTS_MAX))
        if answer is not None:
            self._reply(request.number, answer)
            return
        task = asyncio.get_running_loop().create_task(self._serve(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Request) -> None:
        self._reply(request.number, await self._service.answer(request.method, request.payload))

    def _reply(self, number: int, answer: Answer) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(framed(_ENCODER.encode(Response(number, answer))))
