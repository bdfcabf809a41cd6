"""What a query's process and whoever started it tell each other, over a socket that the two share."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from analytics.sql.format import Format
from analytics.sql.limits import Limits
from analytics.sql.tables import Table
from portfolio.errors import BY_CODE, PortfolioError

_LENGTH: Final = struct.Struct("!Q")
_CHUNK: Final = 1024 * 1024
DESCRIPTORS_MAX: Final = 250
"""The kernel passes 253 on at once."""


class Question(msgspec.Struct, frozen=True):
    """What the process is started for."""

    sql: str
    wanted: Format
    limits: Limits


class Needs(msgspec.Struct, frozen=True, tag=True):
    """The tables that the query reads."""

    tables: list[Table]


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The result, encoded."""

    body: bytes
    row_count: int


class Fault(msgspec.Struct, frozen=True, tag=True):
    """An error of ours, as it crosses to another process."""

    code: str
    detail: str
    cause: dict[str, Any]

    @classmethod
    def of(cls, error: PortfolioError) -> Fault:
        """What tells of an error."""
        return cls(error.code, error.detail, dict(error.cause))

    def error(self) -> PortfolioError:
        """The error that it tells of."""
        return BY_CODE[self.code](self.detail, **self.cause)


Told = Needs | Answer | Fault
Message = TypeVar("Message")


class Link:
    """One end of the socket. Everything raises EOFError if the other end has gone, TimeoutError as the socket does."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: object) -> None:
        """Tell the other end."""
        packed = msgspec.msgpack.encode(message)
        try:
            self._end.sendall(_LENGTH.pack(len(packed)))
            self._end.sendall(packed)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError from error

    def receive(self, kind: Any) -> Any:
        """What the other end tells next, which has to be of a kind."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return msgspec.msgpack.decode(self._exactly(length), type=kind)

    def send_tables(self, tables: Mapping[Table, Sequence[int]]) -> None:
        """Pass descriptors of shared tables on, some for each table."""
        descriptors = [fd for found in tables.values() for fd in found]
        assert len(descriptors) <= DESCRIPTORS_MAX
        self.send({name.value: len(found) for name, found in tables.items()})
        socket.send_fds(self._end, [b"\x00"], descriptors)

    def receive_tables(self) -> dict[Table, list[int]]:
        """The descriptors that the other end passes on."""
        counts: dict[Table, int] = self.receive(dict[Table, int])
        _, descriptors, _, _ = socket.recv_fds(self._end, 1, DESCRIPTORS_MAX)
        remaining = iter(descriptors)
        return {name: [next(remaining) for _ in range(count)] for name, count in counts.items()}

    def _exactly(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            try:
                part = self._end.recv(min(length - len(parts), _CHUNK))
            except ConnectionResetError as error:
                raise EOFError from error
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)
