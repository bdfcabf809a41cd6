"""Analytics of one portfolio over REST: what the document says, what it is of, and what it never is answered from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from redis import Redis

from persistence.embedded.postgres import running_address
from tests.cluster.computing import computed
from tests.e2e.rest import API, Rest, assert_problem, buy, exact, new_id, new_instrument, trade
from tests.e2e.service_process import RunningService
from tests.e2e.test_mirror import eventually
from tests.support import daily_prices

# The first answer of the run waits for a worker to load JAX and to compile.
pytestmark = pytest.mark.timeout(900)
USUAL_TTL_S = 900


@pytest.fixture(scope="module")
def instruments(service: RunningService) -> list[str]:
    """Instruments with a year of prices, of which the last is for comparing."""
    names = sorted(new_instrument() for _ in range(4))
    for seed, name in enumerate(names):
        daily_prices.record(running_address(service.data_dir), daily_prices.walk(name, seed))
    return names


@pytest.fixture(scope="module", autouse=True)
def _warm(service: RunningService, instruments: list[str]) -> None:
    """A worker has loaded what it needs."""
    with Rest(service.base_url) as rest:
        portfolio_id = rest.opened(cash_balance=100_000)
        wanted = {"objective": "minimum_variance", "instruments": instruments[:3]}
        assert analytics(rest, portfolio_id)["instruments"] == []
        assert optimised(rest, portfolio_id, wanted).status_code == 200


@pytest.fixture
def redis(service: RunningService) -> Iterator[Redis]:
    client: Redis = Redis.from_url(service.redis_url)
    yield client
    client.close()


@pytest.fixture
def portfolio_id(rest: Rest, instruments: list[str]) -> str:
    """Two long positions and a short one, opened before the window began."""
    portfolio_id = rest.opened(cash_balance=100_000)
    first, second, third, _ = instruments
    trades = (buy(first, 100, 101), buy(second, 50, 99), trade("SHORT", third, -30, 100))
    answer = rest.update(portfolio_id, *trades, timestamp="2024-08-28T15:00:00Z")
    assert answer.status_code == 200, answer.text
    return portfolio_id


def analytics(rest: Rest, portfolio_id: str, **query: str | int) -> dict[str, Any]:
    answer = computed(lambda: rest.get(f"/portfolio/{portfolio_id}/analytics", **query))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def optimised(rest: Rest, portfolio_id: str, wanted: dict[str, Any]) -> httpx.Response:
    return computed(lambda: rest.post(f"/portfolio/{portfolio_id}/optimize", wanted))


def mark(rest: Rest, portfolio_id: str, instrument_id: str, price: str) -> None:
    """Mark an instrument that is held, and wait until the state shows it, as it does within 100 ms."""
    before = rest.state(portfolio_id).headers["etag"]
    rest.mark({instrument_id: price})
    eventually(lambda: rest.state(portfolio_id).headers["etag"], lambda tag: bool(tag != before))


def figures(part: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a document by its path; scenarios by their names. A shock's days are not meant to be there."""
    if isinstance(part, dict):
        for name, inner in part.items():
            if part.get("kind") != "shock" or name not in {"start", "end"}:
                yield from figures(inner, f"{path}.{name}")
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            name = inner.get("name", index) if isinstance(inner, dict) else index
            yield from figures(inner, f"{path}.{name}")
    else:
        yield path.removeprefix("."), part


def test_figures_are_of_the_state_and_of_the_window(rest: Rest, portfolio_id: str, instruments: list[str]) -> None:
    found = analytics(rest, portfolio_id, benchmark=instruments[-1], risk_free_rate="0.02")
    state = rest.state(portfolio_id).json()
    assert (found["portfolio_id"], found["version"], found["as_of"]) == (
        portfolio_id,
        state["version"],
        state["last_updated"],
    )
    assert found["window"]["periods"] == 252
    assert found["window"]["end"] == str(daily_prices.LAST_DAY)
    assert (found["conventions"]["benchmark"], found["conventions"]["risk_free_rate"]) == (instruments[-1], 0.02)
    for name in ("total_value", "gross_exposure", "net_exposure"):
        assert found["exposure"][name] == float(state[name])
    assert found["exposure"]["cash"] == float(state["cash_balance"])
    assert found["performance"]["periods"] == 252
    assert found["instruments"] == []


def test_contributions_add_up_to_the_volatility_and_the_tails(
    rest: Rest, portfolio_id: str, instruments: list[str]
) -> None:
    found = analytics(rest, portfolio_id)
    assert [part["instrument_id"] for part in found["contributions"]] == instruments[:3]
    total = math.fsum(part["component"] for part in found["contributions"])
    assert total == pytest.approx(found["risk"]["volatility"], rel=1e-12)
    assert math.fsum(part["share"] for part in found["contributions"]) == pytest.approx(1, rel=1e-12)
    for tail in ("value_at_risk", "conditional_value_at_risk"):
        for level, loss in found["risk"][tail]["historical"].items():
            assert math.fsum(part[tail][level] for part in found["contributions"]) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("cash", [0, 1000])
def test_what_is_null_has_a_reason_and_nothing_else_has(rest: Rest, portfolio_id: str, cash: int) -> None:
    for one in (portfolio_id, rest.opened(cash_balance=cash)):
        found = analytics(rest, one)
        null = {path for path, figure in figures(found) if figure is None}
        assert null - {"conventions.benchmark"} == found["unavailable"].keys() - {"contributions"}
    assert "NaN" not in rest.get(f"/portfolio/{portfolio_id}/analytics").text


def test_a_holding_without_prices_is_named_and_left_out_of_risk(rest: Rest, portfolio_id: str) -> None:
    before = analytics(rest, portfolio_id)
    unpriced = new_instrument()
    rest.update(portfolio_id, buy(unpriced, 10, 100))
    found = analytics(rest, portfolio_id)
    assert found["instruments"] == [{"instrument_id": unpriced, "status": "no_prices"}]
    assert unpriced not in {part["instrument_id"] for part in found["contributions"]}
    assert 0 < found["exposure"]["coverage"] < before["exposure"]["coverage"] == 1
    assert found["risk"]["volatility"] == pytest.approx(before["risk"]["volatility"], rel=1e-3)


def test_a_tag_stands_for_version_marks_prices_and_terms(
    service: RunningService, rest: Rest, portfolio_id: str, instruments: list[str]
) -> None:
    path = f"{API}/portfolio/{portfolio_id}/analytics"
    tags = [rest.http.get(path).headers["etag"]]
    assert rest.http.get(path, headers={"If-None-Match": tags[0]}).status_code == 304

    def answered_anew(query: str = "") -> None:
        answer = rest.http.get(path + query, headers={"If-None-Match": ", ".join(tags)})
        assert answer.status_code == 200
        tags.append(answer.headers["etag"])

    rest.update(portfolio_id, buy(instruments[0], 1, 100))
    answered_anew()
    mark(rest, portfolio_id, instruments[0], "123.45")
    answered_anew()
    another_day = daily_prices.walk(new_instrument(), 5)[:1]
    daily_prices.record(running_address(service.data_dir), another_day)
    answered_anew()
    answered_anew("?window=100")
    answered_anew("?risk_free_rate=0.01")
    assert len(set(tags)) == len(tags)
    assert [tag.split(".")[0] for tag in tags] == ['"5', *['"6'] * 5]


def test_a_new_version_mark_or_close_is_in_the_answer_that_follows(
    service: RunningService, rest: Rest, portfolio_id: str, instruments: list[str]
) -> None:
    before = analytics(rest, portfolio_id)
    rest.update(portfolio_id, buy(instruments[0], 7, 100))
    bought = analytics(rest, portfolio_id)
    assert bought["version"] == before["version"] + 1
    mark(rest, portfolio_id, instruments[0], "555.55")
    marked = analytics(rest, portfolio_id)
    assert marked["exposure"]["total_value"] == float(exact(rest.state(portfolio_id))["total_value"])
    assert marked["exposure"]["total_value"] > bought["exposure"]["total_value"]
    newest = daily_prices.walk(instruments[1], 77)[-1:]
    daily_prices.record(running_address(service.data_dir), newest)
    assert analytics(rest, portfolio_id)["risk"]["volatility"] != marked["risk"]["volatility"]


def test_redis_shows_what_rest_answers(redis: Redis, rest: Rest, portfolio_id: str, instruments: list[str]) -> None:
    def shown() -> bytes | None:
        return cast("bytes | None", redis.get(f"portfolio:{portfolio_id}:analytics"))

    def answered_and_shown() -> bytes:
        # It is put there behind the answer, and not at all for seconds after a Redis was slow once.
        return eventually(
            lambda: (rest.get(f"/portfolio/{portfolio_id}/analytics").content, shown()), lambda seen: seen[0] == seen[1]
        )[0]

    first = answered_and_shown()
    assert rest.get(f"/portfolio/{portfolio_id}/analytics").content == first == shown()
    assert USUAL_TTL_S - 60 < redis.ttl(f"portfolio:{portfolio_id}:analytics") <= USUAL_TTL_S
    rest.get(f"/portfolio/{portfolio_id}/analytics", window=20)
    rest.get(f"/portfolio/{portfolio_id}/analytics", window=20)
    assert shown() == first
    rest.update(portfolio_id, buy(instruments[0], 1, 100))
    assert json.loads(answered_and_shown())["version"] == json.loads(first)["version"] + 1


def test_what_is_in_redis_is_answered_only_under_its_own_place(redis: Redis, rest: Rest, portfolio_id: str) -> None:
    key = f"portfolio:{portfolio_id}:analytics"
    right = rest.get(f"/portfolio/{portfolio_id}/analytics").content

    def answered() -> object:
        rest.get(f"/portfolio/{portfolio_id}/analytics")
        redis.set(key, b'{"from": "the cache"}')
        return rest.get(f"/portfolio/{portfolio_id}/analytics").json()

    # A replica leaves a Redis that was slow once alone for seconds.
    eventually(answered, lambda seen: seen == {"from": "the cache"})
    redis.set(f"{key}:version", b"0" * 20 + b".0.0 0")
    assert rest.get(f"/portfolio/{portfolio_id}/analytics").content == right


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"window": 1}, "query.window"),
        ({"window": 5001}, "query.window"),
        ({"window": "many"}, "query.window"),
        ({"benchmark": "no such name"}, "query.benchmark"),
        ({"risk_free_rate": "nan"}, "query.risk_free_rate"),
        ({"risk_free_rate": -1}, "query.risk_free_rate"),
        ({"windw": 20}, "query.windw"),
    ],
)
def test_terms_that_do_not_fit_are_refused(rest: Rest, portfolio_id: str, query: dict[str, Any], field: str) -> None:
    assert_problem(rest.get(f"/portfolio/{portfolio_id}/analytics", **query), 422, "invalid-request", field=field)


def test_a_portfolio_that_is_not_there_has_no_analytics(rest: Rest) -> None:
    assert_problem(rest.get(f"/portfolio/{new_id()}/analytics"), 404, "portfolio-not-found")
    answer = rest.post(f"/portfolio/{new_id()}/optimize", {"objective": "minimum_variance"})
    assert_problem(answer, 404, "portfolio-not-found")


def test_proposed_trades_are_booked_as_they_come_and_lead_to_the_weights(
    rest: Rest, instruments: list[str], portfolio_id: str
) -> None:
    wanted = {"objective": "minimum_variance", "instruments": instruments[:3], "weight": {"upper": 0.5}}
    answer = optimised(rest, portfolio_id, wanted)
    assert answer.status_code == 200, answer.text
    found = exact(answer)
    assert found["status"] == "solved"
    assert (found["window"]["periods"], found["observations"], found["conventions"]["covariance"]) == (
        252,
        252,
        "sample",
    )
    assert math.fsum(map(float, found["weights"].values())) == pytest.approx(1, abs=1e-8)
    trades = {"updates": answer.json()["trades"]}
    booked = rest.post(f"/portfolio/{portfolio_id}/update", trades, if_match=answer.headers["etag"])
    assert booked.status_code == 200, booked.text
    state = exact(booked)
    assert state["cash_balance"] == found["cash_after"]
    for name, weight in found["achieved_weights"].items():
        assert float(state["weights"][name]) == pytest.approx(float(weight), abs=1e-6)
        assert float(weight) == pytest.approx(float(found["weights"][name]), abs=0.01)


def test_limits_that_exclude_each_other_are_named_in_the_answer(
    rest: Rest, instruments: list[str], portfolio_id: str
) -> None:
    wanted = {"objective": "minimum_variance", "instruments": instruments[:3], "weight": {"upper": 0.3}}
    found = optimised(rest, portfolio_id, wanted).json()
    assert (found["status"], found["weights"], found["trades"]) == ("infeasible", None, [])
    assert found["solver"]["conflict"]


def test_an_optimisation_that_does_not_fit_is_refused(rest: Rest, portfolio_id: str) -> None:
    path = f"/portfolio/{portfolio_id}/optimize"
    assert_problem(rest.post(path, {"objective": "maximum_fun"}), 422, "invalid-request", field="objective")
    unpriced = {"objective": "minimum_variance", "instruments": [new_instrument()]}
    assert_problem(rest.post(path, unpriced), 422, "invalid-request")
