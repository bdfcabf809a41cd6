"""An Idempotency-Key makes a retry safe."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from tests.e2e.rest import API, Rest, assert_problem, buy, exact, new_id, new_instrument, trade
from tests.e2e.service_process import RunningService


@pytest.fixture
def portfolio_id(rest: Rest) -> str:
    return rest.opened(cash_balance=1000)


def test_an_update_asked_again_books_nothing(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    first = rest.update(portfolio_id, buy(name, 1, 1), buy(name, 2, 1), key="day-1:1")
    again = rest.update(portfolio_id, buy(name, 1, 1), buy(name, 2, 1), key="day-1:1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"] == '"4.0"'
    booked = exact(rest.get(f"/portfolio/{portfolio_id}/transactions"))["items"]
    assert [item["idempotency_key"] for item in booked] == ["day-1:1", "day-1:1", None]


def test_a_repeat_answers_with_the_present_state(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    rest.update(portfolio_id, buy(name, 1, 1), key="k")
    rest.update(portfolio_id, buy(name, 5, 1))
    again = rest.update(portfolio_id, buy(name, 1, 1), key="k")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == rest.state(portfolio_id).content


def test_the_same_numbers_in_other_digits_are_the_same_request(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    rest.update(portfolio_id, buy(name, "1.50", "10"), key="k")
    again = rest.update(portfolio_id, trade("buy", name, 1.5, "1e1", fee=0), key="k")
    assert again.headers.get("idempotent-replayed") == "true", again.text


def test_a_repeat_is_known_whatever_has_happened_since(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    rest.update(portfolio_id, buy(name, 1, 1), key="k", if_match='"2"')
    rest.update(portfolio_id, trade("SELL", name, -1, 1))
    rest.change_status(portfolio_id, "SUSPENDED", key="s")
    again = rest.update(portfolio_id, buy(name, 1, 1), key="k", if_match='"2"')
    assert again.headers.get("idempotent-replayed") == "true", again.text
    assert exact(again)["version"] == 5
    assert rest.change_status(portfolio_id, "SUSPENDED", key="s").headers.get("idempotent-replayed") == "true"


def test_an_opening_asked_again_opens_nothing(rest: Rest) -> None:
    portfolio_id = new_id()
    first = rest.open(portfolio_id, key="open", cash_balance=10)
    rest.update(portfolio_id, buy(new_instrument(), 1, 1))
    again = rest.open(portfolio_id, key="open", cash_balance="10.00")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert exact(again)["version"] == 3
    assert_problem(rest.open(portfolio_id, key="open", cash_balance=11), 422, "idempotency-key-reused")
    assert_problem(rest.open(portfolio_id, key="another", cash_balance=10), 409, "portfolio-exists")


def test_a_refused_request_leaves_its_key_free(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    assert rest.update(portfolio_id, trade("COVER", name, 1, 1), key="k").status_code == 422
    assert rest.update(portfolio_id, buy(name, 1, 1), key="k").status_code == 200


def test_a_key_is_of_one_portfolio(rest: Rest, portfolio_id: str) -> None:
    name, other = new_instrument(), rest.opened()
    assert rest.update(portfolio_id, buy(name, 1, 1), key="k").json()["version"] == 3
    answer = rest.update(other, buy(name, 1, 1), key="k")
    assert answer.json()["version"] == 2
    assert "idempotent-replayed" not in answer.headers


def test_without_a_key_every_request_is_booked(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    versions = [rest.update(portfolio_id, buy(name, 1, 1)).json()["version"] for _ in range(2)]
    assert versions == [3, 4]


@pytest.mark.parametrize("key", ["k", "k" * 255, "a b", "é", 'quo"te', "'; drop table journal; --", "%00", "\\"])
def test_a_key_is_any_printable_text(rest: Rest, portfolio_id: str, key: str) -> None:
    name = new_instrument()
    replayed = []
    for _ in range(2):
        answer = rest.http.post(
            f"{API}/portfolio/{portfolio_id}/update",
            json={"updates": [buy(name, 1, 1)]},
            headers={b"Idempotency-Key": key.encode("latin-1")},
        )
        assert answer.status_code == 200, answer.text
        replayed.append(answer.headers.get("idempotent-replayed"))
    assert replayed == [None, "true"]
    booked = exact(rest.get(f"/portfolio/{portfolio_id}/transactions"))["items"]
    assert booked[0]["idempotency_key"] == key


async def test_of_many_at_once_with_one_key_one_is_booked(service: RunningService, portfolio_id: str) -> None:
    body = {"updates": [buy(new_instrument(), 1, 1)]}
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as http:
        answers = await asyncio.gather(
            *(
                http.post(f"{API}/portfolio/{portfolio_id}/update", json=body, headers={"Idempotency-Key": "k"})
                for _ in range(50)
            )
        )
    assert Counter(answer.status_code for answer in answers) == {200: 50}
    assert Counter(answer.headers.get("idempotent-replayed") for answer in answers) == {"true": 49, None: 1}
    assert {answer.json()["version"] for answer in answers} == {3}
