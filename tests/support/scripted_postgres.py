"""A Postgres that only knows what to say: it notes what a client sends, and answers from a script."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PORT: Final = 5432


def message(kind: bytes, body: bytes) -> bytes:
    """A message of the protocol."""
    return kind + struct.pack("!I", len(body) + 4) + body


def refusal(severity: str, sqlstate: str) -> bytes:
    """The server's word that it has failed."""
    return message(b"E", f"S{severity}\0V{severity}\0C{sqlstate}\0Mas scripted\0\0".encode())


_READY: Final = message(b"Z", b"I")
_GREETING: Final = (
    message(b"R", bytes(4))
    + message(b"S", b"client_encoding\0UTF8\0")
    + message(b"S", b"server_version\00017.0\0")
    + _READY
)
_DONE: Final = {
    b"Q": message(b"C", b"SET\0") + _READY,
    b"P": message(b"1", b"") + _READY,
    b"B": message(b"2", b"") + message(b"n", b"") + message(b"C", b"INSERT 0 1\0") + _READY,
}
"""The answers to a simple query, to a preparation, and to the run of what was prepared."""


@dataclass(slots=True)
class ScriptedPostgres:
    """`requests` are what came, each whole, beginning with the startup; with `last_words` set, runs get these and no more."""

    dsn: str
    requests: list[bytes] = field(default_factory=list)
    last_words: bytes | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it leaves, or is left."""
        try:
            (length,) = struct.unpack("!I", head := await reader.readexactly(4))
            self.requests.append(head + await reader.readexactly(length - 4))
            writer.write(_GREETING)
            while (answer := self._answer(await _request(reader))) is not None:
                writer.write(answer)
            writer.write(self.last_words or b"")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def _answer(self, request: bytes) -> bytes | None:
        self.requests.append(request)
        kind = request[:1]
        return None if kind == b"B" and self.last_words is not None else _DONE[kind]


async def _request(reader: asyncio.StreamReader) -> bytes:
    """All messages up to the one that asks for an answer."""
    request = b""
    while True:
        kind, length = struct.unpack("!cI", head := await reader.readexactly(5))
        request += head + await reader.readexactly(length - 4)
        if kind in b"QS":
            return request


@asynccontextmanager
async def scripted_postgres(directory: Path) -> AsyncIterator[ScriptedPostgres]:
    """Listens on a socket in `directory` for as long as the block."""
    made = ScriptedPostgres(f"host={directory} port={_PORT} user=anybody")
    async with await asyncio.start_unix_server(made.serve, directory / f".s.PGSQL.{_PORT}"):
        yield made
