"""Keep-alive HTTP/1.1 on a raw socket: what a request costs the client is a tenth of what it costs the server.

A client library would take more of the two cores than the service that it measures.
"""

from __future__ import annotations

import re
import socket
from typing import Final
from urllib.parse import urlsplit

_CHUNK: Final = 256 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BODILESS: Final = (204, 304)


class Connection:
    """One connection with at most one request under way. It is registered with a selector by its `fileno`."""

    __slots__ = ("_expected", "_head", "_received", "_socket", "kind", "since")

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._head = b""
        self._received = 0
        self._expected: int | None = None
        self.kind = ""
        self.since = 0.0

    def fileno(self) -> int:
        """The socket's, for selectors."""
        return self._socket.fileno()

    def ask(self, request: bytes, kind: str, since: float) -> None:
        """Send a request; `kind` and `since` are kept for whoever receives the answer."""
        self.kind = kind
        self.since = since
        if self._socket.send(request) != len(request):
            raise RuntimeError("the socket's buffer does not take a request")

    def receive(self) -> int | None:
        """The status of the answer once all of it is there.

        Raises ConnectionError if the server hangs up, RuntimeError if it does not say how long the answer is.
        """
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server hung up")
        self._received += len(data)
        if self._expected is None:
            self._head += data
            self._expected = _answer_length(self._head)
        if self._expected is None or self._received < self._expected:
            return None
        status = _status(self._head)
        self._head, self._received, self._expected = b"", 0, None
        return status

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def _answer_length(head: bytes) -> int | None:
    """How long the whole answer is; None while its head is not complete."""
    end = head.find(b"\r\n\r\n")
    if end < 0:
        return None
    if _status(head) in _BODILESS:
        return end + 4
    found = _LENGTH.search(head, 0, end + 2)
    if found is None:
        # Perhaps in chunks: it would count as done before its body has come.
        raise RuntimeError(f"an answer without a length: {head[:end]!r}")
    return end + 4 + int(found[1])


def _status(head: bytes) -> int:
    return int(head[9:12])


def get(url: str, headers: str = "") -> bytes:
    """A GET request for `url`; `headers` are lines that end in CRLF."""
    parts = urlsplit(url)
    return f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode()


def post(url: str, body: bytes) -> bytes:
    """A POST request of JSON to `url`."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
