"""SQL over the running service: what it reads, what it is refused, and that the service takes no harm."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pytest

from tests.e2e.rest import API, PROBLEM_JSON, Rest, buy, exact, new_id, new_instrument

_PATIENCE_S = 90.0


def asked(rest: Rest, sql: str, headers: dict[str, str] | None = None, **more: object) -> httpx.Response:
    body = {"sql": sql, **more}
    return rest.http.post(f"{API}/analytics/query", json=body, headers=headers, timeout=_PATIENCE_S)


def rows_of(answer: httpx.Response) -> list[list[Any]]:
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = exact(answer)["rows"]
    return found


def code_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == PROBLEM_JSON, answer.text
    return f"{answer.status_code} {answer.json()['code']}"


@pytest.fixture
def portfolio_id(rest: Rest) -> str:
    """A portfolio of 1,000.00 that bought 2 of an instrument at 100.25."""
    opened = rest.open(new_id("SQL"), cash_balance="1000.00").json()["portfolio_id"]
    assert rest.update(opened, [buy(new_instrument(), 2, "100.25", fee="0.50")]).status_code == 200
    return str(opened)


def test_a_query_sees_what_was_committed_the_moment_before(rest: Rest, portfolio_id: str) -> None:
    sql = f"""
        select total_value, cash_balance, version, count(p.instrument_id), sum(market_value)
        from portfolios left join positions p using (portfolio_id) where portfolio_id = '{portfolio_id}' group by all
    """
    booked = f"""
        select transaction_type, quantity, price, transaction_value, fee from transactions
        where portfolio_id = '{portfolio_id}' order by transactions.version
    """
    deposit = ["DEPOSIT", Decimal("1000.00000000"), Decimal("1.00000000"), Decimal("1000.00"), Decimal("0.00")]
    bought = ["BUY", Decimal("2.00000000"), Decimal("100.25000000"), Decimal("200.50"), Decimal("0.50")]
    assert rows_of(asked(rest, sql)) == [[Decimal("999.50"), Decimal("799.00"), 3, 1, Decimal("200.50")]]
    assert rows_of(asked(rest, booked)) == [deposit, bought]
    rest.update(portfolio_id, [buy(new_instrument(), 1, "50")])
    # The second time only what is new is read.
    assert rows_of(asked(rest, sql)) == [[Decimal("999.50"), Decimal("749.00"), 4, 2, Decimal("250.50")]]
    assert [row[0] for row in rows_of(asked(rest, booked))] == ["DEPOSIT", "BUY", "BUY"]


def test_the_history_ends_with_the_present(rest: Rest, portfolio_id: str) -> None:
    sql = f"select value, inflow from history where portfolio_id = '{portfolio_id}' order by day"
    assert rows_of(asked(rest, sql))[-1][0] == Decimal("999.5")


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"accept": "{type}"}, False),
        ({"accept": "text/html, {type};q=0.9"}, False),
        ({"accept": "application/json"}, True),
    ],
    ids=["Accept", "Accept, second", "field"],
)
@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("csv", "text/csv"),
        ("parquet", "application/vnd.apache.parquet"),
        ("arrow", "application/vnd.apache.arrow.file"),
    ],
)
def test_the_format_is_as_asked(rest: Rest, name: str, media_type: str, headers: dict[str, str], field: bool) -> None:
    sent = {key: value.format(type=media_type) for key, value in headers.items()}
    answer = asked(rest, "select 1.50::decimal(4, 2) as n", sent, **({"format": name.upper()} if field else {}))
    assert answer.headers["content-type"].startswith(media_type)
    read = {"csv": _of_csv, "parquet": _of_parquet, "arrow": _of_arrow}[name]
    assert read(answer.content) == Decimal("1.50")


def _of_csv(content: bytes) -> Decimal:
    header, value = content.decode().split()
    assert header == "n"
    return Decimal(value)


def _of_parquet(content: bytes) -> Any:
    return pl.read_parquet(io.BytesIO(content)).item()


def _of_arrow(content: bytes) -> Any:
    return pa.ipc.open_file(io.BytesIO(content)).read_all()["n"][0].as_py()
