"""A TCP proxy between a client and a server, with the faults that networks have."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from enum import Enum, auto

from tests.support.postgres_wire import AppendSpotter

_CHUNK_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What the proxy does with what it is given."""

    NONE = auto()
    CUT_REQUEST = auto()
    """The next request of a client never reaches the server: both ends are cut instead."""
    SWALLOW_ANSWER = auto()
    """The next answer of the server never reaches the client: what was asked is done, then both ends are cut."""
    SWALLOW_APPEND = auto()
    """As SWALLOW_ANSWER, of the next append to the journal on any connection to Postgres."""
    BLACK_HOLE = auto()
    """Nothing passes either way, and nobody is told."""


class TcpProxy:
    """Listens on `port` of loopback and passes bytes to `host:server_port`, or does what `fault` says.

    `skip` lets that many requests or answers pass before a cut. After a cut, `fault` is NONE again and `struck` is set;
    with `is_refusing`, connections that come later are closed at once. `delay_s` holds up every answer.
    """

    def __init__(self, host: str, server_port: int) -> None:
        self._host = host
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.fault = Fault.NONE
        self.skip = 0
        self.delay_s = 0.0
        self.is_refusing = False
        self.struck = asyncio.Event()
        self.connections = 0

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def arm(self, fault: Fault, *, skip: int = 0, then_refuse: bool = False) -> None:
        """Have `fault` happen after `skip` more messages; `then_refuse` keeps clients from coming back by themselves."""
        self.fault, self.skip = fault, skip
        self.struck.clear()
        self._then_refuse = then_refuse

    _then_refuse = False

    def cut(self) -> None:
        """Cut every connection, both ways, at once."""
        for writer in self._writers:
            writer.transport.abort()

    def reset(self) -> None:
        """Cut every connection as a router does that has forgotten it: with a reset, not with an orderly end."""
        for writer in self._writers:
            connection: socket.socket = writer.get_extra_info("socket")
            # One that the other side has just ended is closed already.
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.cut()

    async def stop(self) -> None:
        """Stop listening, and cut what is open."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            return
        self.connections += 1
        server_reader, server_writer = await asyncio.open_connection(self._host, self._server_port)
        ends = {writer, server_writer}
        self._writers |= ends
        watch = _Appends()
        pumps = [
            asyncio.ensure_future(self._pump(reader, server_writer, Fault.CUT_REQUEST, watch)),
            asyncio.ensure_future(self._pump(server_reader, writer, Fault.SWALLOW_ANSWER, watch)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cutting: Fault, appends: _Appends
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if cutting is Fault.CUT_REQUEST:
                appends.requested(data)
            elif appends.is_answered() and self.fault is Fault.SWALLOW_APPEND:
                self._strike()
                return
            if self._is_cut(cutting):
                return
            while self.fault is Fault.BLACK_HOLE:
                await asyncio.sleep(0.01)
            if self.delay_s and cutting is Fault.SWALLOW_ANSWER:
                await asyncio.sleep(self.delay_s)
            writer.write(data)
            await writer.drain()

    def _is_cut(self, cutting: Fault) -> bool:
        if self.fault is not cutting:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self._strike()
        return True

    def _strike(self) -> None:
        self.fault = Fault.NONE
        self.is_refusing = self._then_refuse
        self.struck.set()


class _Appends:
    """Whether the answer that comes next on a connection is that of an append; of other protocols, none is."""

    def __init__(self) -> None:
        self._spotter = AppendSpotter()
        self._is_asked = False

    def requested(self, data: bytes) -> None:
        """Take what a client sent."""
        self._is_asked = self._spotter.feed(data) or self._is_asked

    def is_answered(self) -> bool:
        """Whether what the server sends now answers an append; asked once an answer."""
        answered, self._is_asked = self._is_asked, False
        return answered


@contextlib.asynccontextmanager
async def tcp_proxy(host: str, server_port: int) -> AsyncIterator[TcpProxy]:
    """A proxy that runs for as long as the block."""
    proxy = TcpProxy(host, server_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
