"""The scenarios of tests/cases/accounting.json, through REST: figures taken from other systems' own tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portfolio.transactions import Transaction
from tests.e2e.rest import Rest, exact, new_id
from tests.oracles.accounting_cases import AccountingCase, AccountingStep, accounting_cases, differences

CASES = accounting_cases()
SEEN_WITHIN_S = 30.0


class Scenario:
    """One scenario in a portfolio of its own, with instruments of its own, steps one second apart."""

    def __init__(self, rest: Rest, case: AccountingCase) -> None:
        self._rest = rest
        self._began = datetime.now(UTC) - timedelta(hours=1)
        self._portfolio_id = rest.opened(portfolio_id=new_id(f"CASE-{case.name}"), cash_balance=str(case.cash))
        # Marks are shared by all portfolios, so an instrument's name carries its scenario's number.
        self._suffix = f".{CASES.index(case)}.{int(time.time()) % 1_000_000}"

    def take(self, index: int, step: AccountingStep) -> None:
        """Book the step's transaction, then set its prices."""
        at = (self._began + timedelta(seconds=index)).isoformat()
        if step.transaction is not None:
            booked = self._rest.update(self._portfolio_id, self._written(step.transaction), timestamp=at)
            assert booked.status_code == 200, booked.text
        if step.prices:
            prices = {name + self._suffix: str(price) for name, price in step.prices.items()}
            assert self._rest.mark(prices, at).json() == {"accepted": len(prices), "stale": 0}

    def _written(self, asked: Transaction) -> dict[str, object]:
        is_cash = str(asked.instrument_id) == "USD"
        return {
            "transaction_type": asked.transaction_type.value,
            "instrument_id": asked.instrument_id + ("" if is_cash else self._suffix),
            "quantity_change": str(asked.quantity),
            "price": str(asked.price),
            "fee": str(asked.fee),
            **({} if asked.ratio is None else {"ratio": str(asked.ratio)}),
        }

    def figures(self) -> dict[str, Any]:
        """The state, with positions by the scenario's own names."""
        state: dict[str, Any] = exact(self._rest.state(self._portfolio_id))
        held = {item["instrument_id"].removesuffix(self._suffix): item for item in state["positions"]}
        return {**state, "positions": held}

    def differences(self, expected: Any) -> dict[str, tuple[Any, Any]]:
        """What does not fit, once marks have had time to show."""
        deadline = time.monotonic() + SEEN_WITHIN_S
        while (found := differences(expected, self.figures())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_scenario_gives_the_figures_of_its_source(rest: Rest, case: AccountingCase) -> None:
    scenario = Scenario(rest, case)
    for index, step in enumerate(case.steps):
        scenario.take(index, step)
        if step.expect:
            assert scenario.differences(step.expect) == {}, f"step {index}"
    assert scenario.differences(case.expect) == {}


def test_every_scenario_is_played() -> None:
    assert len(CASES) == 19
