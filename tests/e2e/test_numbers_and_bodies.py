"""Numbers survive exactly, and no body, however odd, breaks the service or changes anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.rest import Rest, assert_problem, exact, new_id, new_instrument

LONGEST = "123456789012.12345678"


def raw_update(name: str, quantity: str, price: str, **more: str) -> bytes:
    """An update whose numbers stand in it as they are written here."""
    members = {"quantity_change": quantity, "price": price, **more}
    written = "".join(f',"{member}":{number}' for member, number in members.items())
    return f'{{"updates":[{{"transaction_type":"BUY","instrument_id":"{name}"{written}}}]}}'.encode()


@pytest.mark.parametrize("quotes", ["", '"'], ids=["number", "text"])
@pytest.mark.parametrize("number", [LONGEST, "999999999999.99999999", "0.00000001", "0.1", "12345678.00000001"])
def test_a_quantity_survives_exactly(rest: Rest, number: str, quotes: str) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    answer = rest.post_raw(f"/portfolio/{portfolio_id}/update", raw_update(name, f"{quotes}{number}{quotes}", '"0.01"'))
    assert answer.status_code == 200, answer.text
    written = f"{Decimal(number):.8f}"
    for shown in (answer.text, rest.state(portfolio_id).text, rest.get(f"/portfolio/{portfolio_id}/positions").text):
        assert f'"quantity":{written},' in shown
    assert f'"quantity":{written},' in rest.get(f"/portfolio/{portfolio_id}/transactions").text
    assert f'"quantity":{written},' in rest.state(portfolio_id, as_of_version="2").text


@pytest.mark.parametrize("quotes", ["", '"'], ids=["number", "text"])
def test_a_price_survives_exactly(rest: Rest, quotes: str) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    answer = rest.post_raw(
        f"/portfolio/{portfolio_id}/update", raw_update(name, "1", f"{quotes}{LONGEST}{quotes}", fee="0.10")
    )
    assert f'"mark_price":{LONGEST},' in answer.text
    assert '"cost_basis":123456789012.120000,' in answer.text
    assert '"cash_balance":-123456789012.22,' in answer.text
    assert '"fees":0.10,' in answer.text
    listed = rest.get(f"/portfolio/{portfolio_id}/transactions").text
    assert f'"price":{LONGEST},' in listed
    assert '"transaction_value":123456789012.12,' in listed


def test_totals_of_eighteen_digits_survive_exactly(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance="999999999999.99"), new_instrument()
    answer = rest.post_raw(f"/portfolio/{portfolio_id}/update", raw_update(name, "999999999.99999999", "999999999.99"))
    value = (Decimal("999999999.99999999") * Decimal("999999999.99")).quantize(Decimal("0.01"))
    state = exact(answer)
    assert state["cash_balance"] == Decimal("999999999999.99") - value
    assert state["positions"][0]["market_value"] == value
    assert state["positions"][0]["cost_basis"] == value
    assert state["total_value"] == Decimal("999999999999.99")


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    quantity=st.decimals("0.00000001", "999999999999.99999999", places=8),
    price=st.decimals("0.00000001", "999999.99999999", places=8),
)
def test_any_number_within_the_limits_survives(rest: Rest, quantity: Decimal, price: Decimal) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    answer = rest.post_raw(f"/portfolio/{portfolio_id}/update", raw_update(name, f"{quantity:f}", f'"{price:f}"'))
    held = exact(answer)["positions"][0]
    assert (held["quantity"], held["mark_price"]) == (quantity, price)
    assert f'"quantity":{quantity:.8f}' in answer.text
    assert f'"mark_price":{price:.8f}' in answer.text


@pytest.fixture
def portfolio_id(rest: Rest) -> Iterator[str]:
    """A portfolio that nothing in the test may change."""
    portfolio_id = rest.opened(cash_balance=1000)
    before = rest.state(portfolio_id).content
    yield portfolio_id
    assert rest.state(portfolio_id).content == before


NUMBERS = [
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1e999999999", "1e-999999999999999999"),
    *("1e99999999999999999999", "123456789012345678901234567890", "1.123456789012345678901234567890", "9" * 400),
    *("9" * 5_000, f"1.{'9' * 900_000}", "1000000000000", "1e12", "0.000000001", "+1", "01", "1.", ".5", "0x1", "--1"),
    *('"NaN"', '"Infinity"', '"1e400"', '"1_000"', '"1,5"', '" 1"', '""', '"١"', '"１２"', f'"{"9" * 400}"', '"0x1"'),
    *("true", "null", "[1]", '{"a":1}', '"\\u0000"', '"\\ud800"'),
]


# A null price is one that is left out, which a BUY may not do either.
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:24])
@pytest.mark.parametrize("field", ["quantity_change", "price", "fee"])
def test_a_number_that_cannot_be_booked_is_refused(rest: Rest, portfolio_id: str, field: str, number: str) -> None:
    members = {"quantity_change": "1", "price": "1", "fee": "0"} | {field: number}
    name = new_instrument()
    answer = rest.post_raw(
        f"/portfolio/{portfolio_id}/update",
        raw_update(name, members["quantity_change"], members["price"], fee=members["fee"]),
    )
    assert_problem(answer, 422, "invalid-request")
    assert len(answer.content) < 2_000
    assert_problem(
        rest.post_raw("/marks", f'{{"marks":[{{"instrument_id":"{name}","price":{number}}}]}}'.encode()),
        422,
        "invalid-request",
    )


BODIES = {
    "empty": b"",
    "white": b" \n",
    "null": b"null",
    "list": b"[]",
    "text": b'"x"',
    "number": b"1",
    "cut": b'{"updates":[',
    "trailing": b'{"updates":[]} x',
    "two": b"{}{}",
    "comma": b'{"updates":[],}',
    "single quotes": b"{'updates':[]}",
    "comment": b'{"updates":[]} // x',
    "deep lists": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "deep field": b'{"updates":' + b"[" * 900 + b"]" * 900 + b"}",
    "invalid UTF-8": b'{"updates":[{"transaction_type":"BUY\xff"}]}',
    "overlong UTF-8": b'{"updates":[{"transaction_type":"\xc0\x80"}]}',
    "surrogate in UTF-8": b'{"portfolio_id":"\xed\xa0\x80","updates":[]}',
    "UTF-16": '{"updates":[]}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"updates":[]}',
    "lone surrogate": b'{"portfolio_id":"\\ud800","updates":[]}',
    "lone surrogate as name": b'{"\\udc00":1}',
    "NUL": b'{"portfolio_id":"a\\u0000","updates":[]}',
    "NUL as name": b'{"\\u0000":1}',
    "raw NUL": b'{"upd\x00ates":[]}',
    "only NUL": b"\x00" * 1_000,
    "long name": b'{"' + b"k" * 1_000_000 + b'":1}',
    "many names": json.dumps({f"k{number}": number for number in range(50_000)}).encode(),
    "form": b"portfolio_id=x&updates=1",
    "multipart": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    "path", ["/portfolios", "/portfolio/{id}/update", "/portfolio/{id}/status", "/updates", "/marks"]
)
def test_a_body_that_cannot_be_read_is_refused(rest: Rest, portfolio_id: str, path: str, name: str) -> None:
    answer = rest.post_raw(path.format(id=portfolio_id), BODIES[name])
    assert_problem(answer, 422, "invalid-request")
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "é"]
)
def test_a_body_is_json_whatever_it_is_called(rest: Rest, content_type: str | None) -> None:
    portfolio_id = new_id()
    headers = {} if content_type is None else {b"Content-Type": content_type.encode("latin-1")}
    answer = rest.http.post(
        "/api/v1/portfolios", content=json.dumps({"portfolio_id": portfolio_id}).encode(), headers=headers
    )
    assert answer.status_code == 201, answer.text


def test_of_a_name_given_twice_the_last_counts(rest: Rest) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    answer = rest.post_raw(f"/portfolio/{portfolio_id}/update", raw_update(name, '1,"quantity_change":5', "1"))
    assert exact(answer)["positions"][0]["quantity"] == 5


def test_negative_zero_is_zero(rest: Rest) -> None:
    answer = rest.post_raw("/portfolios", f'{{"portfolio_id":"{new_id()}","cash_balance":-0.00}}'.encode())
    assert answer.status_code == 201
    assert '"cash_balance":0.00,' in answer.text
