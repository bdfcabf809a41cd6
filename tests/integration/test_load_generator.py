"""The benchmarks' load generator: how latencies count, and how answers are read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.http_connection import get
from benchmarks.load import ClosedLoad, OpenLoad, Shot, run

STALL_S = 0.3
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n"
REQUEST = get("http://127.0.0.1/x")


class Answering:
    """A server that answers each request with these pieces, a moment apart; the first one only after a stall."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pause_s = STALL_S
            while connection.recv(65_536):
                for piece in self._pieces:
                    threading.Event().wait(pause_s)
                    connection.sendall(piece)
                    pause_s = 0.005

    def close(self) -> None:
        self._listening.close()
        self._thread.join()


@pytest.fixture
def pieces() -> Sequence[bytes]:
    return (OK,)


@pytest.fixture
def port(pieces: Sequence[bytes]) -> Iterator[int]:
    server = Answering(*pieces)
    yield server.port
    server.close()


def test_an_offered_request_counts_from_when_it_was_due_though_a_stall_held_it_up(port: int) -> None:
    observed = run(OpenLoad("127.0.0.1", port, 1, [Shot(0.0, "first", REQUEST), Shot(0.01, "second", REQUEST)]))
    assert observed.latencies_s["first"][0] >= STALL_S
    assert observed.latencies_s["second"][0] >= STALL_S - 0.01
    assert observed.late_s[1] >= STALL_S - 0.01


@pytest.mark.parametrize("pieces", [(OK,), (OK[:20], OK[20:45], OK[45:]), (UNCHANGED,)])
def test_an_answer_is_complete_however_it_arrives(port: int) -> None:
    observed = run(OpenLoad("127.0.0.1", port, 1, [Shot(0.0, "", REQUEST)] * 3))
    assert len(observed.latencies_s[""]) == 3


def test_each_request_follows_the_answer_before_it_until_the_time_is_over(port: int) -> None:
    observed = run(ClosedLoad("127.0.0.1", port, 1, [REQUEST], warm_up_s=0.0, seconds=STALL_S + 2.0))
    # The answer that comes after the end is waited for, and not counted.
    assert observed.asked == len(observed.latencies_s[""]) + 1 > 2


@pytest.mark.parametrize("pieces", [(OK.replace(b"200 OK", b"503 No"),)])
def test_an_answer_that_is_no_success_ends_the_measurement(port: int) -> None:
    with pytest.raises(RuntimeError, match="503"):
        run(OpenLoad("127.0.0.1", port, 1, [Shot(0.0, "", REQUEST)]))
