"""The load generator counts an answer once all of it is there, and none whose end it cannot tell."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from benchmarks.http_connection import Connection


class Served:
    """A connection, and the server's end of it."""

    def __init__(self, connection: Connection, server: socket.socket) -> None:
        self.connection = connection
        self.server = server

    def receive(self, data: bytes) -> int | None:
        """What the connection makes of `data` from its server."""
        self.server.sendall(data)
        select.select([self.connection], [], [], 5)
        return self.connection.receive()


@pytest.fixture
def served() -> Iterator[Served]:
    """A connection that is open."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        closing(Connection(*listening.getsockname())) as connection,
        listening.accept()[0] as server,
    ):
        yield Served(connection, server)


def test_an_answer_is_done_once_its_body_has_come(served: Served) -> None:
    parts = (
        b"HTTP/1.1 200 OK\r\nContent-",
        b"length: 4\r\n\r\n",
        b"ab",
        b"cd",
        b"HTTP/1.1 503 No\r\ncontent-length:0\r\n\r\n",
    )
    assert [served.receive(part) for part in parts] == [None, None, None, 200, 503]


@pytest.mark.parametrize("length", [b"", b"Content-Length: 7000\r\n"])
def test_an_answer_that_never_has_a_body_is_done_with_its_head(served: Served, length: bytes) -> None:
    """The length is that of the document that has not changed."""
    assert served.receive(b"HTTP/1.1 304 Not Modified\r\n" + length + b"\r\n") == 304


def test_an_answer_without_a_length_is_refused(served: Served) -> None:
    with pytest.raises(RuntimeError, match="chunked"):
        served.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
