"""Opening portfolios, their life, their lists: what the contract promises of answers that succeed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rest import API, Rest, buy, exact, new_id, new_instrument, trade
from tests.e2e.service_process import RunningService

STATE_MEMBERS = [
    "portfolio_id",
    "portfolio_name",
    "base_currency",
    "status",
    "version",
    "total_value",
    "cash_balance",
    "realized_pnl",
    "unrealized_pnl",
    "income",
    "fees",
    "taxes",
    "gross_exposure",
    "net_exposure",
    "positions",
    "weights",
    "last_updated",
]
POSITION_MEMBERS = [
    "instrument_id",
    "position_type",
    "quantity",
    "market_value",
    "weight",
    "unrealized_pnl",
    "cost_basis",
    "average_cost",
    "realized_pnl",
    "mark_price",
    "mark_time",
    "mark_source",
    "last_updated",
]
TRANSACTION_MEMBERS = [
    "transaction_id",
    "version",
    "instrument_id",
    "transaction_type",
    "quantity",
    "price",
    "transaction_value",
    "fee",
    "transaction_date",
    "recorded_at",
    "idempotency_key",
]
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def test_an_opened_portfolio_says_where_it_is(rest: Rest) -> None:
    portfolio_id = new_id("A.b:c_d")
    answer = rest.open(portfolio_id, portfolio_name="Growth & Söhne 株", cash_balance=50000, base_currency="EUR")
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{API}/portfolio/{portfolio_id}/state"
    found = rest.http.get(answer.headers["location"])
    assert found.content == answer.content
    state = exact(found)
    assert list(state) == STATE_MEMBERS
    assert (state["portfolio_name"], state["base_currency"], state["version"]) == ("Growth & Söhne 株", "EUR", 2)
    assert [list(position) for position in state["positions"]] == [POSITION_MEMBERS]
    assert '"cash_balance":50000.00,' in found.text
    assert state["weights"] == {"EUR": Decimal("1.000000")}


def test_an_opening_without_cash_is_version_1_and_has_the_defaults(rest: Rest) -> None:
    answer = rest.open()
    state = exact(answer)
    assert (state["version"], state["base_currency"], state["status"]) == (1, "USD", "ACTIVE")
    assert state["portfolio_name"] == state["portfolio_id"]
    assert state["weights"] == {"USD": None}
    assert rest.get(f"/portfolio/{state['portfolio_id']}/transactions").json() == {"items": [], "next_cursor": None}


def test_times_are_written_in_utc_with_microseconds(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance=1), new_instrument()
    rest.update(portfolio_id, buy(name, 1, 1), timestamp="2025-06-21T12:30:00.25+02:30")
    state, listed = exact(rest.state(portfolio_id)), exact(rest.get(f"/portfolio/{portfolio_id}/transactions"))
    held, booked = state["positions"][0], listed["items"][0]
    assert held["mark_time"] == booked["transaction_date"] == "2025-06-21T10:00:00.250000Z"
    for moment in (state["last_updated"], held["last_updated"], booked["recorded_at"]):
        assert re.fullmatch(MOMENT, moment)


def test_a_position_at_zero_leaves_the_list_and_its_profit_stays(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance=1000), new_instrument()
    rest.update(portfolio_id, buy(name, 10, "10.00"))
    state = exact(rest.update(portfolio_id, trade("SELL", name, -10, "11.50", fee="1.00")))
    assert [position["instrument_id"] for position in state["positions"]] == ["USD"]
    assert state["realized_pnl"] == 15
    assert state["cash_balance"] == Decimal("1014.00")
    assert state["weights"] == {"USD": 1}


def test_positions_are_those_of_the_state(rest: Rest) -> None:
    portfolio_id = rest.opened(cash_balance=1000)
    rest.update(portfolio_id, buy(new_instrument(), 1, 10), trade("SHORT", new_instrument(), -2, 20))
    positions = exact(rest.get(f"/portfolio/{portfolio_id}/positions"))
    assert positions == exact(rest.state(portfolio_id))["positions"]
    assert {position["position_type"] for position in positions} == {"LONG", "SHORT", "CASH"}


@pytest.mark.parametrize("change", [str.lower, str.title, str.upper])
def test_words_are_taken_in_any_case(rest: Rest, change: Any) -> None:
    portfolio_id, name = rest.opened(cash_balance=1000), new_instrument()
    answer = rest.update(portfolio_id, trade(change("buy"), name, 1, 1), trade(change("transfer_in"), name, 1, 1))
    assert answer.status_code == 200, answer.text
    assert rest.change_status(portfolio_id, change("suspended")).json()["status"] == "SUSPENDED"
    listed = exact(rest.get("/portfolios", status=change("suspended"), limit=1_000))["items"]
    assert portfolio_id in {item["portfolio_id"] for item in listed}
    booked = exact(rest.get(f"/portfolio/{portfolio_id}/transactions"))["items"]
    assert [item["transaction_type"] for item in booked] == ["TRANSFER_IN", "BUY", "DEPOSIT"]


def test_transaction_ids_are_the_callers_or_ours_and_unique(rest: Rest) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    given = "0b0f0f6e-6a0e-4c5c-8f4e-0d6f3a1b2c3d"
    first = rest.update(portfolio_id, buy(name, transaction_id=given.upper()), buy(name))
    assert first.status_code == 200, first.text
    booked = exact(rest.get(f"/portfolio/{portfolio_id}/transactions"))["items"]
    assert list(booked[0]) == TRANSACTION_MEMBERS
    assert booked[1]["transaction_id"] == given
    assert len({item["transaction_id"] for item in booked}) == 2
    again = rest.update(rest.opened(), buy(name), buy(name, transaction_id=given))
    assert again.status_code == 422
    assert again.json()["index"] == 1
    twice = buy(name, transaction_id="1b0f0f6e-6a0e-4c5c-8f4e-0d6f3a1b2c3d")
    assert rest.update(portfolio_id, twice, twice).status_code == 422
    assert exact(rest.state(portfolio_id))["version"] == 3


def walked(rest: Rest, path: str, **query: str | int) -> Iterator[list[Mapping[str, Any]]]:
    """Every page of a list, from the first to the one without a next."""
    cursor: str | None = None
    while True:
        page = exact(rest.get(path, **query, **({} if cursor is None else {"cursor": cursor})))
        yield page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


@pytest.mark.parametrize(("count", "limit", "pages"), [(7, 3, 3), (6, 3, 2), (3, 3, 1), (2, 1, 2), (1, 3, 1)])
def test_pages_of_transactions_show_each_once_newest_first(rest: Rest, count: int, limit: int, pages: int) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    rest.update(portfolio_id, *[buy(name, 1 + number, 1) for number in range(count)])
    found = list(walked(rest, f"/portfolio/{portfolio_id}/transactions", limit=limit))
    assert len(found) == pages
    assert [item["version"] for page in found for item in page] == list(range(count + 1, 1, -1))


def test_what_is_booked_while_pages_are_read_repeats_nothing(rest: Rest) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    rest.update(portfolio_id, *[buy(name, 1, 1) for _ in range(6)])
    versions: list[int] = []
    for page in walked(rest, f"/portfolio/{portfolio_id}/transactions", limit=2):
        versions += [item["version"] for item in page]
        rest.update(portfolio_id, buy(name, 1, 1))
    assert versions == [7, 6, 5, 4, 3, 2]


@pytest.mark.parametrize("limit", [1, 2, 7, 1_000])
def test_pages_of_portfolios_show_each_once_in_order(rest: Rest, limit: int) -> None:
    mine = {rest.opened() for _ in range(5)}
    found = [item["portfolio_id"] for page in walked(rest, "/portfolios", limit=max(limit, 1)) for item in page]
    assert found == sorted(set(found))
    assert mine <= set(found)


def test_pages_of_portfolios_keep_to_a_status(rest: Rest) -> None:
    mine = [rest.opened() for _ in range(5)]
    for portfolio_id in mine[1:4]:
        rest.change_status(portfolio_id, "LIQUIDATING")
    found = [item for page in walked(rest, "/portfolios", limit=2, status="LIQUIDATING") for item in page]
    assert {item["status"] for item in found} == {"LIQUIDATING"}
    assert {item["portfolio_id"] for item in found} & set(mine) == set(mine[1:4])


def test_a_summary_agrees_with_the_state(rest: Rest) -> None:
    portfolio_id = rest.opened(cash_balance="12.34")
    rest.update(portfolio_id, buy(new_instrument(), 1, "1.23", fee="0.01"))
    state = exact(rest.state(portfolio_id))
    items = [item for page in walked(rest, "/portfolios", limit=500) for item in page]
    summary = next(item for item in items if item["portfolio_id"] == portfolio_id)
    assert summary == {name: state[name] for name in summary}
    assert len(summary) == 8


def test_the_past_is_what_it_was_at_a_version(rest: Rest) -> None:
    portfolio_id, name = rest.opened(cash_balance=1000), new_instrument()
    opened = exact(rest.state(portfolio_id))
    then = [opened, *(exact(rest.update(portfolio_id, buy(name, quantity, 10))) for quantity in (1, 2, 3))]
    rest.change_status(portfolio_id, "SUSPENDED")
    rest.mark({name: 99})
    assert [exact(rest.state(portfolio_id, as_of_version=str(version))) for version in (2, 3, 4, 5)] == then
    assert exact(rest.state(portfolio_id, as_of_version="6"))["status"] == "SUSPENDED"
    opening = exact(rest.state(portfolio_id, as_of_version="1"))
    assert (opening["version"], opening["cash_balance"]) == (1, 0)


def test_the_past_at_a_moment_has_what_had_taken_effect_at_trade_prices(rest: Rest) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    rest.update(portfolio_id, trade("DEPOSIT", "USD", 1000, 1), timestamp="2025-01-01T00:00:00Z")
    rest.update(portfolio_id, buy(name, 1, 10), timestamp="2025-02-01T00:00:00Z")
    rest.update(portfolio_id, buy(name, 1, 20), timestamp="2025-03-01T00:00:00Z")
    rest.mark({name: 99})
    february = exact(rest.state(portfolio_id, as_of="2025-02-01T01:00:00+01:00"))
    assert (february["version"], february["cash_balance"], february["total_value"]) == (3, 990, 1000)
    assert february["positions"][0]["mark_source"] == "trade"
    january = exact(rest.state(portfolio_id, as_of="2025-01-31T23:59:59.999999Z"))
    assert (january["version"], january["cash_balance"]) == (2, 1000)
    march = exact(rest.state(portfolio_id, as_of="2025-03-01T00:00:00Z"))
    assert (march["version"], march["total_value"]) == (4, 1010)


def test_the_past_at_a_moment_is_valued_at_the_daily_closes_that_were_loaded(
    rest: Rest, service: RunningService, tmp_path: Path
) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    rest.update(portfolio_id, buy(name, 2, 10), timestamp="2025-02-03T21:00:00Z")
    path = tmp_path / "prices.csv"
    path.write_text(f"instrument_id,date,close\n{name},2025-02-02,9\n{name},2025-02-03,10.5\n{name},2025-02-04,11\n")
    command = [str(Path(sys.executable).with_name("portfolio-state")), "prices", str(path)]
    subprocess.run(command, env=os.environ | {"PORTFOLIO_DATA_DIR": str(service.data_dir)}, check=True)
    marks = [
        (position["mark_price"], position["mark_source"], position["market_value"])
        for moment in ("2025-02-03T22:00:00Z", "2025-02-04T00:00:00Z", "2025-02-05T00:00:00Z")
        for position in exact(rest.state(portfolio_id, as_of=moment))["positions"][:1]
    ]
    assert marks == [(10, "trade", 20), (Decimal("10.5"), "market", 21), (11, "market", 22)]


@pytest.mark.parametrize(
    "late",
    [
        [("TRANSFER_IN", 100, 10), ("TRANSFER_OUT", -50, 0)],
        [("BUY", 100, 10), ("SELL", -100, 11)],
        [("BUY", 100, 10), ("SPLIT", 0, 3)],
        [("BUY", 100, 10), ("DIVIDEND", 0, 1)],
        [("SHORT", -10, 10), ("COVER", 5, 3)],
    ],
)
def test_what_is_booked_late_never_breaks_the_past(rest: Rest, late: list[tuple[str, int, int]]) -> None:
    portfolio_id, name = rest.opened(cash_balance=1000), new_instrument()
    for (kind, quantity, price), at in zip(late, ("2025-03-01", "2025-01-01"), strict=True):
        ratio = {"ratio": "3:2"} if kind == "SPLIT" else {}
        booked = rest.update(portfolio_id, trade(kind, name, quantity, price, **ratio), timestamp=f"{at}T00:00:00Z")
        assert booked.status_code == 200, booked.text
    assert rest.state(portfolio_id, as_of="2025-02-01T00:00:00Z").status_code == 200


def test_a_trade_booked_late_does_not_mark_the_position(rest: Rest) -> None:
    portfolio_id, name = rest.opened(), new_instrument()
    rest.update(portfolio_id, buy(name, 1, 20), timestamp="2025-03-01T00:00:00Z")
    state = exact(rest.update(portfolio_id, buy(name, 1, 10), timestamp="2025-02-01T00:00:00Z"))
    assert (state["positions"][0]["mark_price"], state["positions"][0]["market_value"]) == (20, 40)
