"""Keep-alive HTTP/1.1 requests on raw connections, sent at a fixed rate or one after another.

A client library would cost more than the service it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import urlsplit


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Connection:
        """A connection to the host of `url`."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def ask(self, request: bytes) -> int:
        """Send `request` and read the whole answer; gives its status."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        await self._reader.readexactly(length)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


def get(url: str) -> bytes:
    """A GET request for `url`."""
    parts = urlsplit(url)
    return f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()


def post(url: str, body: bytes, headers: str = "") -> bytes:
    """A POST request of JSON to `url`; `headers` are lines that end in CRLF."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def at_rate(requests: Sequence[bytes], url: str, *, rate: float, connections: int) -> list[float]:
    """Latencies of `requests` sent at `rate` a second, each from the moment it was due, so that stalls count.

    Raises RuntimeError for an answer that is no success.
    """
    pool: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        pool.put_nowait(await Connection.open(url))
    latencies: list[float] = []

    async def one(request: bytes, due: float) -> None:
        connection = await pool.get()
        status = await connection.ask(request)
        pool.put_nowait(connection)
        if not 200 <= status < 300:
            raise RuntimeError(f"answered {status}")
        latencies.append(time.perf_counter() - due)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, request in enumerate(requests):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(request, due))
    while not pool.empty():
        pool.get_nowait().close()
    return latencies
