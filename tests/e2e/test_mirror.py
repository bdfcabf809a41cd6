"""What Redis shows is what REST answers: the mirror's keys and the stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

import pytest
from redis import Redis

from tests.e2e.rest import Rest, buy, exact, new_instrument, trade
from tests.e2e.service_process import RunningService

Seen = TypeVar("Seen")
SEEN_WITHIN_S = 30.0
EVENT_POSITION_MEMBERS = ["instrument_id", "quantity", "market_value", "weight", "unrealized_pnl"]


@pytest.fixture
def redis(service: RunningService) -> Iterator[Redis]:
    client: Redis = Redis.from_url(service.redis_url)
    yield client
    client.close()


@pytest.fixture
def portfolio_id(rest: Rest) -> str:
    """A portfolio with a long position, a short one, and one that was closed."""
    portfolio_id = rest.opened(cash_balance=1000)
    closed = new_instrument()
    rest.update(portfolio_id, buy(closed, 1, 1), trade("SELL", closed, -1, 2))
    rest.update(portfolio_id, buy(new_instrument(), 3, "10.01"), trade("SHORT", new_instrument(), -2, 20))
    return portfolio_id


def eventually(look: Callable[[], Seen], is_right: Callable[[Seen], bool]) -> Seen:
    """What `look` gives once it is right."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while not is_right(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.01)
    return seen


def value(redis: Redis, key: str) -> bytes | None:
    return cast("bytes | None", redis.get(key))


def all_events(redis: Redis, portfolio_id: str) -> list[dict[str, Any]]:
    """The events of one portfolio in the stream's order, repeats and all."""
    stream = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange("portfolio:events"))
    assert all(list(fields) == [b"event"] for _, fields in stream)
    found = [json.loads(fields[b"event"], parse_float=Decimal) for _, fields in stream]
    return [event for event in found if event["portfolio_state_updated"]["portfolio_id"] == portfolio_id]


def events(redis: Redis, portfolio_id: str) -> list[dict[str, Any]]:
    """The same, each where it came first: the contract allows repeats."""
    first: dict[str, dict[str, Any]] = {}
    for event in all_events(redis, portfolio_id):
        first.setdefault(event["event_id"], event)
    return list(first.values())


def test_the_mirror_shows_what_rest_answers(rest: Rest, redis: Redis, portfolio_id: str) -> None:
    state = rest.state(portfolio_id).content
    eventually(lambda: value(redis, f"portfolio:{portfolio_id}:state"), lambda seen: seen == state)
    positions = rest.get(f"/portfolio/{portfolio_id}/positions").content
    assert value(redis, f"portfolio:{portfolio_id}:positions") == positions
    weights = value(redis, f"portfolio:{portfolio_id}:weights")
    assert json.loads(weights or b"", parse_float=Decimal) == json.loads(state, parse_float=Decimal)["weights"]


@pytest.mark.parametrize(("name", "seconds"), [("state", 300), ("positions", 60), ("weights", 300)])
def test_the_mirror_forgets_in_time(redis: Redis, portfolio_id: str, name: str, seconds: int) -> None:
    key = f"portfolio:{portfolio_id}:{name}"
    eventually(lambda: value(redis, key), bool)
    assert seconds - 20 < redis.ttl(key) <= seconds


def test_the_mirror_follows_a_mark(rest: Rest, redis: Redis, portfolio_id: str) -> None:
    name = exact(rest.state(portfolio_id))["positions"][0]["instrument_id"]
    before = rest.state(portfolio_id).content
    rest.mark({name: "77.77"})
    state = eventually(lambda: rest.state(portfolio_id).content, lambda seen: seen != before)
    eventually(lambda: value(redis, f"portfolio:{portfolio_id}:state"), lambda seen: seen == state)


def test_the_mirror_follows_a_change_of_status(rest: Rest, redis: Redis, portfolio_id: str) -> None:
    state = rest.change_status(portfolio_id, "LIQUIDATING").content
    eventually(lambda: value(redis, f"portfolio:{portfolio_id}:state"), lambda seen: seen == state)


def test_the_mirror_follows_a_batch(rest: Rest, redis: Redis, portfolio_id: str) -> None:
    rest.update_many([{"portfolio_id": portfolio_id, "updates": [trade("DEPOSIT", "USD", 1, 1)]}])
    state = rest.state(portfolio_id).content
    eventually(lambda: value(redis, f"portfolio:{portfolio_id}:state"), lambda seen: seen == state)


def test_an_event_tells_what_rest_answers(rest: Rest, redis: Redis, portfolio_id: str) -> None:
    state = exact(rest.state(portfolio_id))
    told = eventually(
        lambda: events(redis, portfolio_id),
        lambda seen: bool(seen) and seen[-1]["portfolio_state_updated"]["cash_balance"] == state["cash_balance"],
    )[-1]
    assert list(told) == ["event_id", "timestamp", "portfolio_state_updated"]
    updated = told["portfolio_state_updated"]
    assert list(updated) == ["portfolio_id", "total_value", "cash_balance", "positions", "last_updated"]
    for name in ("portfolio_id", "total_value", "cash_balance", "last_updated"):
        assert updated[name] == state[name]
    assert updated["positions"] == [
        {name: position[name] for name in EVENT_POSITION_MEMBERS}
        for position in state["positions"]
        if position["position_type"] != "CASH"
    ]
    assert str(UUID(told["event_id"])) == told["event_id"]
    assert told["timestamp"].endswith("Z")


def test_every_write_that_is_awaited_has_its_event_in_order(rest: Rest, redis: Redis) -> None:
    portfolio_id = rest.opened()
    totals = [exact(rest.update(portfolio_id, trade("DEPOSIT", "USD", 1, 1)))["total_value"] for _ in range(20)]
    seen = eventually(lambda: events(redis, portfolio_id), lambda seen: len(seen) >= 21)
    assert [event["portfolio_state_updated"]["total_value"] for event in seen] == [0, *totals]
    # What took too long may be told again, but not everything.
    assert len(all_events(redis, portfolio_id)) < 2 * len(seen)


def test_a_repeat_and_a_refusal_have_no_event(rest: Rest, redis: Redis) -> None:
    portfolio_id = rest.opened()
    for _ in range(3):
        rest.update(portfolio_id, trade("DEPOSIT", "USD", 1, 1), key="k")
        rest.update(portfolio_id, trade("COVER", "A", 1, 1))
    rest.update(portfolio_id, trade("DEPOSIT", "USD", 1, 1), key="last")
    seen = eventually(lambda: events(redis, portfolio_id), lambda seen: len(seen) >= 3)
    time.sleep(0.2)
    assert [event["portfolio_state_updated"]["total_value"] for event in events(redis, portfolio_id)] == [0, 1, 2]
    assert len(seen) == 3
