"""The short way answers every request as the framework's routes would: status, headers, body, and what shards are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Scope

from actors.gateway import Gateway
from actors.protocol import Answer
from persistence.history import PostgresHistory
from persistence.price_store import PostgresPriceStore
from portfolio.errors import BY_CODE, OutcomeUnknown, PortfolioNotFound, ShardUnavailable
from portfolio.sharding import ShardMap
from serve_app import hot_routes
from serve_app.analyst import Analyst
from serve_app.app import create_api
from serve_app.backend import Backend
from serve_app.hot_routes import HotRoutes
from serve_app.querying import Queries
from tests.unit.serve_app.test_app import Shards, There

API: Final = create_api(lambda: cast(Any, None))
PATH: Final = "/api/v1/portfolio"
UPDATE: Final = b'{"updates":[{"transaction_type":"BUY","instrument_id":"A","quantity_change":1.5,"price":"2"}]}'

NAMES = st.one_of(
    st.sampled_from(
        ["P", "PORTFOLIO-0001", "a.b:c_d-e", "x" * 100, "x" * 101, "", "P\n", "P Q", "é", "P/Q", "..", "{id}"]
    ),
    st.text(max_size=5),
)
TAILS = st.sampled_from(
    ["state", "positions", "update", "status", "transactions", "State", "state/", "", "nothing", "state\n"]
)
QUERIES: Final = [b"", b"as_of_version=1", b"as_of=2025-01-01T00:00:00Z", b"as_of_version=x", b"any=1", b"="]
HEADER_NAMES: Final = [b"idempotency-key", b"if-match", b"if-none-match", b"content-type", b"x-other"]
HEADER_VALUES: Final = [
    *(b"", b"k", b"*", b'"7"', b'"7.0"', b'W/"7.0"', b'"7.0", "8.0"', b"\xe9", b"a\tb", b" "),
    *(b"k" * length for length in (200, 201, 255, 256, 1_000, 1_001)),
]
HEADERS = st.lists(
    st.tuples(st.sampled_from(HEADER_NAMES), st.one_of(st.sampled_from(HEADER_VALUES), st.binary(max_size=4))),
    max_size=3,
)
BODIES = st.sampled_from(
    [
        *(UPDATE, UPDATE[:-1], b"", b"{}", b'{"updates":[]}', b"[" * 10_000, b'{"updates":[{}]}', b"\xff"),
        UPDATE.replace(b"1.5", b'"1e400"'),
        UPDATE.replace(b"1.5", b"NaN"),
        UPDATE.replace(b'"A"', b'""'),
        UPDATE.replace(b'{"updates"', b'{"portfolio_id":"Q","updates"'),
        UPDATE.replace(b'{"updates"', b'{"timestamp":"yesterday","updates"'),
        UPDATE.replace(b'"2"', b'"2","transaction_id":"x"'),
        b" " * (1024 * 1024 + 1),
    ]
)
SHARDS = st.sampled_from(
    [
        Shards(),
        Shards(answer=Answer(b'{"any":"bytes"}', '"7.0"', owner="1/3")),
        Shards(answer=Answer(b"{}", '"8.0"', replayed=True, owner="1/3")),
        Shards(answer=Answer(None, '"7.0"', owner="1/3")),
        *(Shards(kind("the detail", portfolio_id="P")) for kind in BY_CODE.values()),
        Shards(RuntimeError("what nobody expected")),
    ]
)


@dataclass(frozen=True)
class Asked:
    """A request as a server hands it over."""

    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    root_path: str = ""

    @property
    def scope(self) -> Scope:
        """Its scope, made anew."""
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.root_path + self.path,
            "raw_path": self.path.encode(),
            "root_path": self.root_path,
            "query_string": self.query,
            "headers": list(self.headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }


PLACES: Final = [("GET", "state"), ("GET", "positions"), ("POST", "update")]
NEARLY_HOT = st.builds(
    lambda place, name, headers, body: Asked(place[0], f"{PATH}/{name}/{place[1]}", b"", tuple(headers), body),
    st.sampled_from(PLACES),
    st.sampled_from(["P", "x" * 100, "x" * 101]),
    HEADERS,
    BODIES,
)
ANY = st.builds(
    lambda method, name, tail, query, headers, body, root: Asked(
        method, f"{PATH}/{name}/{tail}", query, tuple(headers), body, root
    ),
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "get"]),
    NAMES,
    TAILS,
    st.sampled_from(QUERIES),
    HEADERS,
    BODIES,
    st.sampled_from(["", "/root"]),
)


@dataclass(frozen=True)
class Given:
    """What came back, and what the shards were asked meanwhile."""

    messages: list[Message]
    raised: str | None
    shards_asked: list[tuple[Any, ...]]


async def given_by(app: ASGIApp, asked: Asked, shards: Shards) -> Given:
    shards.asked.clear()
    messages: list[Message] = []
    coming = iter([{"type": "http.request", "body": asked.body, "more_body": False}])

    async def receive() -> Message:
        return next(coming, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        messages.append({**message, "headers": sorted(message["headers"])} if "headers" in message else message)

    raised = None
    try:
        await app(asked.scope, receive, send)
    except Exception as error:  # noqa: BLE001 - that both let the same through is what is tested.
        raised = repr(error)
    return Given(messages, raised, list(shards.asked))


def both_ways(shards: Shards) -> tuple[ASGIApp, ASGIApp]:
    """The framework's routes alone, and with the short way in front of them."""
    API.state.backend = Backend(
        Gateway(shards, ShardMap.even(2)),
        cast(PostgresHistory, There()),
        cast(PostgresPriceStore, None),
        cast(Queries, None),
        cast(Analyst, None),
    )
    return API, HotRoutes(API)


@given(st.one_of(NEARLY_HOT, ANY), SHARDS)
async def test_both_ways_answer_alike(asked: Asked, shards: Shards) -> None:
    framework, short = both_ways(shards)
    assert await given_by(short, asked, shards) == await given_by(framework, asked, shards)


@pytest.mark.parametrize(("method", "tail"), PLACES)
async def test_both_ways_answer_alike_at_the_edge_of_the_plain_form(method: str, tail: str) -> None:
    shards = Shards(answer=Answer(b"{}", '"7.0"', owner="1/3"))
    framework, short = both_ways(shards)
    plain = Asked(method, f"{PATH}/P/{tail}", body=UPDATE)
    edges = [
        *(replace(plain, query=query) for query in QUERIES),
        *(replace(plain, headers=((name, value),)) for name in HEADER_NAMES for value in HEADER_VALUES),
        *(replace(plain, headers=((name, b'"7"'), (name, b"*"))) for name in HEADER_NAMES),
        *(replace(plain, path=f"{PATH}/{name}/{tail}") for name in ("x" * 100, "x" * 101, "P\n", "P/", "é")),
        *(replace(plain, method=other) for other in ("HEAD", "PUT", "OPTIONS", "DELETE", "POST", "GET")),
        replace(plain, root_path="/root"),
        replace(plain, root_path="/api/v1", path=f"/portfolio/P/{tail}"),
    ]
    for asked in edges:
        assert await given_by(short, asked, shards) == await given_by(framework, asked, shards), asked


HOT: Final = [
    Asked("GET", f"{PATH}/P/state"),
    Asked("GET", f"{PATH}/P/positions"),
    Asked("GET", f"{PATH}/P/state", headers=((b"if-none-match", b'"7.0"'), (b"x-other", b"1"))),
    Asked("POST", f"{PATH}/P/update", body=UPDATE),
    Asked(
        "POST", "/api/v1/portfolio/P/update", headers=((b"idempotency-key", b"k"), (b"if-match", b'"7"')), body=UPDATE
    ),
]


@pytest.mark.parametrize("asked", HOT)
@pytest.mark.parametrize("error", [None, PortfolioNotFound, ShardUnavailable, OutcomeUnknown])
async def test_hot_requests_never_reach_the_framework(
    asked: Asked, error: Callable[[str], Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Shards(error("the detail") if error is not None else None)
    framework, short = both_ways(shards)
    expected = await given_by(framework, asked, shards)
    monkeypatch.setattr(short, "_api", _State(API.state))
    assert await given_by(short, asked, shards) == expected
    assert len(expected.shards_asked) == 1


class _State:
    """An application that has a state, and fails if it is called."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *_: object) -> Awaitable[None]:
        raise AssertionError("the framework was asked")


def test_every_hot_route_is_one_of_the_frameworks() -> None:
    documented = {(method.upper(), path) for path, found in API.openapi()["paths"].items() for method in found}
    assert {(method, f"{PATH}/{{id}}/{tail}") for method, tail in hot_routes.HANDLERS} <= documented


async def test_a_caller_who_leaves_ends_the_wait_and_no_answer_is_sent() -> None:
    class Silent(Shards):
        def __init__(self) -> None:
            super().__init__()
            self.waiting, self.left = asyncio.Event(), False

        async def call(self, *_: Any) -> Answer:
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left = True
            raise AssertionError("nobody ends the wait")

    async def receive() -> Message:
        return {"type": "http.request", "body": HOT[0].body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    shards = Silent()
    _, short = both_ways(shards)
    # The server ends the task of a request whose caller has hung up.
    task = asyncio.ensure_future(short(HOT[0].scope, receive, send))
    await asyncio.wait_for(shards.waiting.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shards.left
    assert sent == []
