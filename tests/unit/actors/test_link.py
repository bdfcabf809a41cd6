"""Both ends of the link, on real sockets of this machine."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import challenge
from actors.frames import FRAME_BYTES_MAX, FrameReader, framed
from actors.link_client import LinkClient
from actors.link_server import LinkServer, Request, Response
from actors.protocol import Answer, Endpoint, Method, PortfolioQuestion, pack
from actors.service import Service
from portfolio.errors import OutcomeUnknown, PortfolioNotFound, ShardUnavailable
from tests.oracles.memory_store import MemoryJournal
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import RunningShard, eventually

SECRET = b"s" * 32
HERE, THERE = "node-here", "node-there"
ASKING_FOR_1 = pack(PortfolioQuestion(portfolio(1)))


@pytest.fixture
async def endpoint(service: Service) -> AsyncIterator[Endpoint]:
    """Where the shard listens."""
    # pytest's own directories have names too long for a socket.
    top = Path(tempfile.mkdtemp(prefix="portfolio-link-", dir="/tmp"))
    server = LinkServer(service, SECRET, top / "links", "127.0.0.1")
    try:
        path, port = await server.start()
        yield Endpoint(HERE, str(path), "127.0.0.1", port, "incarnation-1")
    finally:
        server.close()
        shutil.rmtree(top)


@pytest.fixture(params=[HERE, THERE], ids=["unix", "tcp"])
async def link(request: pytest.FixtureRequest, endpoint: Endpoint) -> AsyncIterator[LinkClient]:
    """A link to the shard from its own node, and from another."""
    opened_link = await LinkClient.connect(endpoint, request.param, SECRET)
    yield opened_link
    opened_link.close()
    await asyncio.sleep(0)


async def test_a_write_and_reads_pass(link: LinkClient) -> None:
    booked = (await link.call(Method.OPEN, pack(opened(1, cash="12.34")), 5)).raised()
    state = (await link.call(Method.STATE, ASKING_FOR_1, 5)).raised()
    assert state.body == booked.body
    assert state.body is not None
    assert b'"cash_balance":12.34' in state.body
    known = await link.call(Method.STATE, pack(PortfolioQuestion(portfolio(1), state.etag)), 5)
    assert (known.body, known.etag) == (None, state.etag)


async def test_an_error_arrives_as_itself(link: LinkClient) -> None:
    answer = await link.call(Method.STATE, ASKING_FOR_1, 5)
    with pytest.raises(PortfolioNotFound, match="P-1") as caught:
        answer.raised()
    assert caught.value.cause == {"portfolio_id": "P-1"}


async def test_a_read_does_not_wait_for_a_commit(link: LinkClient, running: RunningShard) -> None:
    assert isinstance(running.journal, MemoryJournal)
    await link.call(Method.OPEN, pack(opened(1)), 5)
    running.journal.gate.clear()
    write = asyncio.ensure_future(link.call(Method.UPDATE, pack(updated(1)), 5))
    read = await link.call(Method.STATE, ASKING_FOR_1, 5)
    assert not write.done()
    assert read.body is not None
    assert b'"version":1' in read.body
    running.journal.gate.set()
    assert b'"version":2' in ((await write).raised().body or b"")


async def test_many_calls_are_under_way_at_once_and_each_gets_its_own_answer(link: LinkClient) -> None:
    await asyncio.gather(*(link.call(Method.OPEN, pack(opened(number)), 5) for number in range(200)))
    answers = await asyncio.gather(
        *(link.call(Method.STATE, pack(PortfolioQuestion(portfolio(number))), 5) for number in range(200))
    )
    assert all(f'"P-{number}"'.encode() in (answer.body or b"") for number, answer in enumerate(answers))


async def test_an_answer_that_does_not_come_in_time_is_unknown_for_a_write(
    link: LinkClient, running: RunningShard
) -> None:
    assert isinstance(running.journal, MemoryJournal)
    running.journal.gate.clear()
    with pytest.raises(OutcomeUnknown):
        await link.call(Method.OPEN, pack(opened(1)), 0.01)
    running.journal.gate.set()
    await eventually(lambda: len(running.shard.books) == 1)
    # Its late answer is dropped, and the link goes on.
    assert (await link.call(Method.STATE, ASKING_FOR_1, 5)).raised().body


async def test_a_call_on_a_closed_link_was_not_sent(link: LinkClient) -> None:
    link.close()
    with pytest.raises(ShardUnavailable):
        await link.call(Method.OPEN, pack(opened(1)), 5)
    assert not link.is_open


async def test_a_caller_that_leaves_cancels_nothing(link: LinkClient, running: RunningShard) -> None:
    assert isinstance(running.journal, MemoryJournal)
    running.journal.gate.clear()
    call = asyncio.ensure_future(link.call(Method.OPEN, pack(opened(1)), 5))
    await asyncio.sleep(0.05)
    call.cancel()
    link.close()
    await asyncio.sleep(0.01)
    running.journal.gate.set()
    await eventually(lambda: len(running.shard.books) == 1)


@pytest.mark.parametrize("node_id", [HERE, THERE])
async def test_nobody_listening_is_shard_unavailable(endpoint: Endpoint, node_id: str) -> None:
    gone = replace(endpoint, socket_path=f"{endpoint.socket_path}.gone", port=1)
    with pytest.raises(ShardUnavailable):
        await LinkClient.connect(gone, node_id, SECRET)


async def test_a_wrong_secret_is_refused_over_tcp(endpoint: Endpoint) -> None:
    with pytest.raises(ShardUnavailable):
        await LinkClient.connect(endpoint, THERE, b"another secret")
    link = await LinkClient.connect(endpoint, THERE, SECRET)
    link.close()


async def test_nothing_is_answered_before_the_challenge(endpoint: Endpoint) -> None:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    await reader.readexactly(4 + challenge.NONCE_BYTES)
    writer.write(framed(msgspec.msgpack.encode(Request(1, Method.STATE.value, msgspec.Raw(ASKING_FOR_1)))))
    assert await _rest(reader) == b""
    writer.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        framed(b""),
        framed(b"\xc1"),
        framed(msgspec.msgpack.encode([1, 2, 3])),
        framed(b"\x93" * 2_000),
    ],
)
async def test_garbage_ends_the_link_it_came_on_and_no_other(
    endpoint: Endpoint, garbage: bytes, running: RunningShard
) -> None:
    link = await LinkClient.connect(endpoint, HERE, SECRET)
    reader, writer = await asyncio.open_unix_connection(endpoint.socket_path)
    writer.write(garbage)
    assert await _rest(reader) == b""
    writer.close()
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    await reader.readexactly(4 + challenge.NONCE_BYTES)
    writer.write(garbage + b"\0" * 2_000)
    assert await _rest(reader) == b""
    writer.close()
    assert (await link.call(Method.OPEN, pack(opened(1)), 5)).raised().body
    assert not running.life.done()
    link.close()


async def test_a_frame_too_large_before_the_challenge_is_refused_early(endpoint: Endpoint) -> None:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    await reader.readexactly(4 + challenge.NONCE_BYTES)
    writer.write((2_000).to_bytes(4, "big"))
    assert await _rest(reader) == b""
    writer.close()


async def test_a_method_or_payload_that_is_not_known_is_the_askers_fault(link: LinkClient) -> None:
    for method, payload in ((Method.UPDATE, pack([1])), (Method.STATE, pack(None)), (Method.PAGE, pack([1, 2]))):
        answer = await link.call(method, payload, 5)
        assert answer.fault is not None
        assert answer.fault.code == "invalid-request"


Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Handlers:
    """What serves connections as it is told, and can be waited for."""

    def __init__(self, behaviour: Serving) -> None:
        self._behaviour = behaviour
        self._tasks: list[asyncio.Task[Any]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        try:
            await self._behaviour(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async def ended(self) -> None:
        """Return once nothing of them is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _impostor(behaviour: Handlers) -> tuple[asyncio.Server, Endpoint]:
    server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
    return server, Endpoint(THERE, "", "127.0.0.1", server.sockets[0].getsockname()[1], "impostor")


async def _hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _hangs_up_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(framed(challenge.nonce()))
    await reader.read(10)
    writer.close()


async def _proves_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(framed(challenge.nonce()))
    await reader.read(10)
    writer.write(framed(b"p" * 32))
    await _rest(reader)
    writer.close()


async def _speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await _rest(reader)
    writer.close()


async def _talks_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(framed(b"x") * 10)
    await _rest(reader)
    writer.close()


@pytest.mark.parametrize("behaviour", [_hangs_up, _hangs_up_later, _proves_nothing, _speaks_http, _talks_too_much])
async def test_what_is_not_the_shard_is_not_linked_to(behaviour: Serving) -> None:
    handlers = Handlers(behaviour)
    server, where = await _impostor(handlers)
    with pytest.raises(ShardUnavailable):
        await LinkClient.connect(where, HERE, SECRET)
    server.close()
    await handlers.ended()


async def test_a_lost_link_is_unknown_for_a_write_and_unavailable_for_a_read(endpoint: Endpoint) -> None:
    async def takes_and_hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        requests: list[bytes] = []
        while len(requests) < 2:
            requests += frames.feed(await reader.read(1_000))
        writer.close()

    path = f"{endpoint.socket_path}-2"
    server = await asyncio.start_unix_server(takes_and_hangs_up, path)
    link = await LinkClient.connect(replace(endpoint, socket_path=path), HERE, SECRET)
    outcomes = await asyncio.gather(
        link.call(Method.OPEN, pack(opened(1)), 5), link.call(Method.STATE, ASKING_FOR_1, 5), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, ShardUnavailable]
    assert not link.is_open
    server.close()


async def test_an_answer_to_a_call_never_made_is_dropped(endpoint: Endpoint) -> None:
    async def answers_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (frame,) = FrameReader().feed(await reader.read(1_000))
        request = msgspec.msgpack.decode(frame, type=Request)
        for number in (request.number + 7, request.number, request.number):
            writer.write(framed(msgspec.msgpack.encode(Response(number, Answer(str(number).encode())))))
        await _rest(reader)
        writer.close()

    path = f"{endpoint.socket_path}-3"
    handlers = Handlers(answers_twice)
    server = await asyncio.start_unix_server(handlers, path)
    link = await LinkClient.connect(replace(endpoint, socket_path=path), HERE, SECRET)
    assert (await link.call(Method.STATE, ASKING_FOR_1, 5)).body == b"1"
    link.close()
    server.close()
    await handlers.ended()


async def test_a_directory_open_to_others_is_no_place_for_a_socket(service: Service, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError):
        await LinkServer(service, SECRET, tmp_path, "127.0.0.1").start()


async def test_closing_takes_the_sockets_file_away(service: Service) -> None:
    with tempfile.TemporaryDirectory(prefix="portfolio-link-", dir="/tmp") as top:
        server = LinkServer(service, SECRET, Path(top) / "links", "127.0.0.1")
        path, _ = await server.start()
        assert path.is_socket()
        server.close()
        assert not path.exists()
        server.close()


def test_a_proof_is_good_for_one_side_and_one_challenge() -> None:
    nonces: list[Any] = [challenge.nonce() for _ in range(3)]
    assert challenge.client_proof(SECRET, *nonces[:2]) != challenge.server_proof(SECRET, *nonces[:2])
    assert challenge.client_proof(SECRET, *nonces[:2]) != challenge.client_proof(SECRET, *nonces[1:])


async def test_a_caller_that_is_sent_away_still_gets_its_answers(service: Service, running: RunningShard) -> None:
    assert isinstance(running.journal, MemoryJournal)
    top = Path(tempfile.mkdtemp(prefix="portfolio-link-", dir="/tmp"))
    server = LinkServer(service, SECRET, top / "links", "127.0.0.1")
    try:
        path, port = await server.start()
        there = Endpoint(HERE, str(path), "127.0.0.1", port, "incarnation-1")
        link = await LinkClient.connect(there, HERE, SECRET)
        await link.call(Method.OPEN, pack(opened(1)), 5)
        running.journal.gate.clear()
        before = asyncio.ensure_future(link.call(Method.UPDATE, pack(updated(1)), 5))
        await asyncio.sleep(0.01)
        server.hang_up()
        # This one has been sent before the caller could know.
        after = asyncio.ensure_future(link.call(Method.STATE, ASKING_FOR_1, 5))
        await eventually(lambda: not link.is_open)
        running.journal.gate.set()
        assert all(answer.raised().body for answer in await asyncio.gather(before, after))
        with pytest.raises(ShardUnavailable):
            await LinkClient.connect(there, HERE, SECRET)
        link.close()
    finally:
        server.close()
        shutil.rmtree(top)
