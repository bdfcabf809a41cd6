"""The Python client over actor handles: typed results, exact numbers, the right errors, nothing booked twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from actors.documents import PositionDocument, PositionType, StateDocument
from cluster.client import AsyncClient, Client
from portfolio import errors
from portfolio.errors import PortfolioError
from portfolio.ids import PortfolioId
from portfolio.status import Status
from portfolio.valuation import MarkSource
from serve_app.wire import UpdateResult
from tests.cluster.service_process import ServiceProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def buy(quantity: object, price: object = "10", instrument_id: str = "X", **more: object) -> dict[str, object]:
    return {
        "instrument_id": instrument_id,
        "quantity_change": quantity,
        "price": price,
        "transaction_type": "BUY",
        **more,
    }


def sell(quantity: object, price: object = "10") -> dict[str, object]:
    return buy(quantity, price) | {"transaction_type": "SELL"}


def test_a_new_portfolio_has_what_it_was_opened_with(client: Client, portfolio_id: PortfolioId) -> None:
    state = client.create(
        portfolio_id, portfolio_name="Growth", base_currency="EUR", cash_balance="50000.10", min_cash=-5
    )
    assert isinstance(state, StateDocument)
    assert (state.portfolio_id, state.portfolio_name, state.base_currency) == (portfolio_id, "Growth", "EUR")
    assert (state.status, state.version) == (Status.ACTIVE, 2)
    assert state.cash_balance == state.total_value == Decimal("50000.10")
    assert [held.position_type for held in state.positions] == [PositionType.CASH]
    assert client.state(portfolio_id) == state


def test_numbers_come_back_exactly_as_they_were_given(client: Client, portfolio_id: PortfolioId) -> None:
    client.create(portfolio_id)
    # As doubles, neither the quantity nor the price would keep its last digits.
    state = client.update(
        portfolio_id, [buy("123456789012.12345678", Decimal("0.00000001")), buy(3, 7, "Y", fee="0.1")]
    )
    by_instrument = {held.instrument_id: held for held in client.positions(portfolio_id)}
    assert isinstance(by_instrument["X"], PositionDocument)
    assert by_instrument["X"].quantity == Decimal("123456789012.12345678")
    assert by_instrument["X"].mark_price == Decimal("0.00000001")
    assert by_instrument["X"].market_value == Decimal("1234.57")
    assert state.cash_balance == Decimal("-1255.67")
    assert list(state.positions) == list(by_instrument.values())


@pytest.mark.parametrize("change", [{"quantity_change": 0.1}, {"price": 10.0}, {"fee": 0.5}, {"quantity_change": True}])
def test_a_float_is_refused_and_changes_nothing(
    client: Client, portfolio_id: PortfolioId, change: Mapping[str, object]
) -> None:
    client.create(portfolio_id)
    with pytest.raises(errors.InvalidRequest) as raised:
        client.update(portfolio_id, [buy(1), {**buy(1), **change}])
    assert raised.value.cause["index"] == 1
    with pytest.raises(errors.InvalidRequest):
        client.create(f"{portfolio_id}-2", cash_balance=0.1)  # type: ignore[arg-type]
    assert client.state(portfolio_id).version == 1


def test_a_key_books_once_and_cannot_be_used_for_something_else(client: Client, portfolio_id: PortfolioId) -> None:
    client.create(portfolio_id, idempotency_key="open")
    client.create(portfolio_id, idempotency_key="open")
    first = client.update(portfolio_id, [buy(1)], idempotency_key="a")
    assert client.update(portfolio_id, [buy("1.00")], idempotency_key="a") == first
    with pytest.raises(errors.IdempotencyKeyReused):
        client.update(portfolio_id, [buy(2)], idempotency_key="a")
    assert client.state(portfolio_id).version == 2


def test_the_time_of_effect_is_the_callers(client: Client, portfolio_id: PortfolioId) -> None:
    client.create(portfolio_id)
    effective_at = datetime(2025, 6, 21, 10, 0, 0, 123456, tzinfo=UTC)
    client.update(portfolio_id, [buy(1)], timestamp=effective_at)
    held = next(held for held in client.positions(portfolio_id) if held.instrument_id == "X")
    assert (held.mark_time, held.mark_source) == (effective_at, MarkSource.TRADE)


def test_status_changes_step_by_step(client: Client, portfolio_id: PortfolioId) -> None:
    client.create(portfolio_id)
    assert client.change_status(portfolio_id, "liquidating").status is Status.LIQUIDATING
    assert client.change_status(portfolio_id, "CLOSED", expected_version=2).version == 3
    with pytest.raises(errors.IllegalStatusChange):
        client.change_status(portfolio_id, "ACTIVE")


Call = Callable[[Client, PortfolioId], Any]
WRONG: Mapping[str, tuple[type[PortfolioError], Call]] = {
    "opened twice": (errors.PortfolioExists, lambda client, known: client.create(known)),
    "unknown state": (errors.PortfolioNotFound, lambda client, known: client.state(f"{known}-no")),
    "unknown positions": (errors.PortfolioNotFound, lambda client, known: client.positions(f"{known}-no")),
    "unknown update": (errors.PortfolioNotFound, lambda client, known: client.update(f"{known}-no", [buy(1)])),
    "sold too much": (errors.InsufficientPosition, lambda client, known: client.update(known, [buy(2), sell(-3)])),
    "shorted": (
        errors.ShortNotAllowed,
        lambda client, known: client.update(known, [sell(-1) | {"transaction_type": "SHORT"}]),
    ),
    "too little cash": (errors.MinCashBreached, lambda client, known: client.update(known, [buy(1, "100.01")])),
    "another version": (
        errors.VersionMismatch,
        lambda client, known: client.update(known, [buy(1)], expected_version=7),
    ),
    "closed with cash": (
        errors.IllegalStatusChange,
        lambda client, known: [client.change_status(known, "LIQUIDATING"), client.change_status(known, "CLOSED")],
    ),
    "suspended": (
        errors.StatusForbids,
        lambda client, known: [client.change_status(known, "SUSPENDED"), client.update(known, [buy(1)])],
    ),
    "no such status": (errors.InvalidRequest, lambda client, known: client.change_status(known, "ASLEEP")),
    "no such type": (
        errors.InvalidRequest,
        lambda client, known: client.update(known, [buy(1) | {"transaction_type": "GIVE"}]),
    ),
    "misspelt field": (errors.InvalidRequest, lambda client, known: client.update(known, [buy(1, prize=3)])),
    "nothing to book": (errors.InvalidRequest, lambda client, known: client.update(known, [])),
    "bad id": (errors.InvalidRequest, lambda client, known: client.state("no spaces")),
    "bad key": (errors.InvalidRequest, lambda client, known: client.update(known, [buy(1)], idempotency_key="")),
    "naive time": (
        errors.InvalidRequest,
        lambda client, known: client.update(known, [buy(1)], timestamp=datetime(2025, 6, 21)),  # noqa: DTZ001
    ),
    "mark below zero": (
        errors.InvalidRequest,
        lambda client, known: client.update_marks([{"instrument_id": "X", "price": -1}]),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_arrive_as_what_they_are(client: Client, portfolio_id: PortfolioId, wrong: str) -> None:
    client.create(portfolio_id, cash_balance=100, allow_short=False, min_cash=0)
    expected, call = WRONG[wrong]
    with pytest.raises(PortfolioError) as raised:
        call(client, portfolio_id)
    assert type(raised.value) is expected


def test_an_error_names_the_amount_exactly(client: Client, portfolio_id: PortfolioId) -> None:
    client.create(portfolio_id, allow_short=False)
    client.update(portfolio_id, [buy("1.5")])
    with pytest.raises(errors.InsufficientPosition) as raised:
        client.update(portfolio_id, [buy(1, instrument_id="Y"), sell("-1.50000001")])
    assert raised.value.cause["held"] == Decimal("1.5")
    assert (raised.value.cause["index"], raised.value.cause["instrument_id"]) == (1, "X")


def test_many_updates_have_a_result_each_in_order(client: Client, portfolio_id: PortfolioId) -> None:
    other = PortfolioId(f"{portfolio_id}-2")
    client.create(portfolio_id)
    client.create(other, allow_short=False)
    results = client.update_many(
        [
            {"portfolio_id": portfolio_id, "updates": [buy(1), buy(2)], "idempotency_key": "a"},
            {"portfolio_id": other, "updates": [sell(-1)]},
            {"portfolio_id": other, "updates": [buy("0.5")]},
            {"portfolio_id": portfolio_id, "updates": [buy(1), buy(2)], "idempotency_key": "a"},
            {"portfolio_id": f"{portfolio_id}-no", "updates": [buy(1)]},
            {"portfolio_id": portfolio_id, "updates": [sell(-3)]},
        ]
    )
    assert all(isinstance(result, UpdateResult) for result in results)
    assert [(result.status, result.version, result.replayed) for result in results] == [
        (200, 3, False),
        (422, None, False),
        (200, 2, False),
        (200, 4, True),
        (404, None, False),
        (200, 4, False),
    ]
    assert results[1].problem is not None
    assert results[1].problem.code == "insufficient-position"
    assert client.state(portfolio_id).version == 4


def test_marks_show_in_every_shard_and_older_ones_do_not(client: Client, portfolio_id: PortfolioId) -> None:
    instrument_id = portfolio_id[-10:]
    holders = [portfolio_id, *(f"{portfolio_id}-{number}" for number in range(4))]
    for holder in holders:
        client.create(holder)
        client.update(holder, [buy(2, 10, instrument_id)], timestamp=datetime(2025, 6, 21, tzinfo=UTC))
    newer, older = "2025-06-22T10:00:00Z", "2025-06-22T09:00:00Z"
    counts = client.update_marks(
        [
            {"instrument_id": instrument_id, "price": "12.5", "as_of": newer},
            {"instrument_id": instrument_id, "price": "99", "as_of": older},
        ]
    )
    assert (counts.accepted, counts.stale) == (1, 1)
    for holder in holders:
        assert _mark_price(client, holder, instrument_id, expected=Decimal("12.5")) == Decimal("12.5")
    assert client.update_marks([{"instrument_id": instrument_id, "price": 1, "as_of": older}]).accepted == 0
    assert client.state(portfolio_id).version == 2


def _mark_price(client: Client, portfolio_id: str, instrument_id: str, expected: Decimal) -> Decimal:
    """The mark once it shows, which takes a revaluation; the last one seen if it never does."""
    deadline = time.monotonic() + 30
    while True:
        held = next(held for held in client.positions(portfolio_id) if held.instrument_id == instrument_id)
        if held.mark_price == expected or time.monotonic() > deadline:
            return held.mark_price
        time.sleep(0.01)


async def test_the_async_client_does_the_same(service: ServiceProcess, portfolio_id: PortfolioId) -> None:
    client = await AsyncClient.connect(service.settings)
    opened = await client.create(portfolio_id, cash_balance=Decimal("100.00"))
    state = await client.update(portfolio_id, [buy("0.12345678", "100")])
    assert (opened.version, state.version, state.cash_balance) == (2, 3, Decimal("87.65"))
    assert await client.positions(portfolio_id) == (await client.state(portfolio_id)).positions == state.positions
    results = await client.update_many([{"portfolio_id": portfolio_id, "updates": [buy(1)]}])
    assert [result.version for result in results] == [4]
    assert (await client.change_status(portfolio_id, "SUSPENDED")).status is Status.SUSPENDED
    with pytest.raises(errors.StatusForbids):
        await client.update(portfolio_id, [buy(1)])
    assert (await client.update_marks([{"instrument_id": "X", "price": "1.5"}])).accepted == 1
    assert len(await client.shard_statuses()) == 2


def test_rest_tells_what_handles_tell(service: ServiceProcess, client: Client, portfolio_id: PortfolioId) -> None:
    client.create(portfolio_id, cash_balance=100)
    state = client.update(portfolio_id, [buy("0.5")])
    url = f"{service.base_url}/api/v1/portfolio/{portfolio_id}/state"
    answer = httpx.get(url, timeout=30).json(parse_float=Decimal)
    assert (answer["version"], answer["total_value"]) == (state.version, state.total_value)


def test_another_process_connects_by_the_data_directory_alone(
    service: ServiceProcess, client: Client, portfolio_id: PortfolioId
) -> None:
    script = f"""
from cluster.client import connect
with connect() as client:
    client.create("{portfolio_id}", cash_balance="10.50")
    print(client.update("{portfolio_id}", [{buy("0.5")!r}]).version)
"""
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=service.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == "3"
    assert client.state(portfolio_id).cash_balance == Decimal("5.50")


def test_without_a_service_connecting_says_so(service: ServiceProcess) -> None:
    nowhere = service.environment() | {"PORTFOLIO_DATA_DIR": str(service.top / "nowhere")}
    script = "from cluster.client import connect; connect()"
    told = subprocess.run(
        [sys.executable, "-c", script], env=nowhere, capture_output=True, text=True, timeout=60, check=False
    )
    assert "ConnectionError: no service runs on" in told.stderr
