"""ETag, If-Match and If-None-Match."""

from __future__ import annotations

import pytest

from tests.e2e.rest import Rest, assert_problem, buy, exact, new_instrument


@pytest.fixture
def portfolio_id(rest: Rest) -> str:
    return rest.opened(cash_balance=1000)


def test_every_answer_with_one_portfolio_bears_an_etag_of_its_version(rest: Rest, portfolio_id: str) -> None:
    answers = [
        rest.update(portfolio_id, buy(new_instrument(), 1, 1)),
        rest.state(portfolio_id),
        rest.get(f"/portfolio/{portfolio_id}/positions"),
        rest.state(portfolio_id, as_of_version="3"),
    ]
    assert [answer.headers["etag"] for answer in answers] == ['"3.0"'] * 4
    assert rest.change_status(portfolio_id, "SUSPENDED").headers["etag"] == '"4.0"'
    assert rest.state(portfolio_id, as_of_version="1").headers["etag"] == '"1.0"'
    assert rest.open().headers["etag"] == '"1.0"'


def test_if_match_of_the_present_version_books(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    assert rest.update(portfolio_id, buy(name, 1, 1), if_match='"2"').status_code == 200
    etag = rest.state(portfolio_id).headers["etag"]
    assert rest.update(portfolio_id, buy(name, 1, 1), if_match=etag).status_code == 200
    assert rest.update(portfolio_id, buy(name, 1, 1), if_match="*").status_code == 200
    assert rest.change_status(portfolio_id, "SUSPENDED", if_match='"5"').json()["version"] == 6


def test_a_mark_in_between_is_no_mismatch(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    etag = rest.update(portfolio_id, buy(name, 1, 1)).headers["etag"]
    rest.mark({name: 2})
    assert rest.update(portfolio_id, buy(name, 1, 1), if_match=etag).status_code == 200


def test_of_two_writers_with_one_version_one_books(rest: Rest, portfolio_id: str) -> None:
    name = new_instrument()
    answers = [rest.update(portfolio_id, buy(name, 1, 1), if_match='"2"') for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 412]
    assert exact(rest.state(portfolio_id))["version"] == 3


@pytest.mark.parametrize("if_match", ['W/"2"', '"2", "3"', "2", '"x"', '""', '"99999999999999999999"', '"٢"'])
def test_an_if_match_that_names_no_single_version_is_invalid(rest: Rest, portfolio_id: str, if_match: str) -> None:
    answer = rest.http.post(
        f"/api/v1/portfolio/{portfolio_id}/update",
        json={"updates": [buy(new_instrument())]},
        headers={b"If-Match": if_match.encode()},
    )
    assert_problem(answer, 422, "invalid-request", field="If-Match")
    assert exact(rest.state(portfolio_id))["version"] == 2


@pytest.mark.parametrize("path", ["state", "positions"])
@pytest.mark.parametrize("tags", ["{}", "W/{}", '"1.0", {}', '{}, "9.9"', 'W/"1.0",W/{}', "*", " * "])
def test_what_the_caller_has_is_not_sent_again(rest: Rest, portfolio_id: str, path: str, tags: str) -> None:
    etag = rest.state(portfolio_id).headers["etag"]
    answer = rest.http.get(
        f"/api/v1/portfolio/{portfolio_id}/{path}", headers={"If-None-Match": tags.format(etag).strip()}
    )
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == etag


@pytest.mark.parametrize("tags", ['"1.0"', '"2"', '"2.0', "2.0", "nonsense", '"2.0 "', '"1.0", "3.0"', '""'])
def test_what_the_caller_does_not_have_is_sent(rest: Rest, portfolio_id: str, tags: str) -> None:
    answer = rest.state(portfolio_id, if_none_match=tags)
    assert answer.status_code == 200
    assert exact(answer)["version"] == 2


def test_a_state_of_the_past_is_not_sent_again_either(rest: Rest, portfolio_id: str) -> None:
    assert rest.state(portfolio_id, as_of_version="1", if_none_match='"1.0"').status_code == 304
    assert rest.state(portfolio_id, as_of_version="1", if_none_match='"2.0"').status_code == 200


def test_a_change_makes_what_the_caller_has_old(rest: Rest, portfolio_id: str) -> None:
    etag = rest.state(portfolio_id).headers["etag"]
    rest.update(portfolio_id, buy(new_instrument(), 1, 1))
    assert rest.state(portfolio_id, if_none_match=etag).status_code == 200


def test_asking_conditionally_for_what_is_not_there_is_not_found(rest: Rest) -> None:
    assert_problem(rest.state("NOBODY-HERE", if_none_match="*"), 404, "portfolio-not-found")
