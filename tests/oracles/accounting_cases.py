"""The scenarios of tests/cases/accounting.json as steps that any level of the service can take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from portfolio.ids import InstrumentId
from portfolio.transactions import Ratio, Transaction, TransactionType

CASES_FILE: Final = Path(__file__).parents[1] / "cases" / "accounting.json"

Figures = Mapping[str, Any]
"""Figures by the names of the REST contract; `positions` holds a mapping of such figures for each instrument."""

FLAT: Final[Figures] = {"quantity": Decimal(0), "cost_basis": Decimal(0), "average_cost": None}
"""What a position that is not listed counts as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingStep:
    """A transaction to book or market prices to set, and the figures expected right after it."""

    transaction: Transaction | None
    prices: Mapping[InstrumentId, Decimal]
    expect: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingCase:
    """One scenario: a portfolio opened with `cash` takes the steps, one second apart, and ends with `expect`."""

    name: str
    cash: Decimal
    steps: tuple[AccountingStep, ...]
    expect: Figures


def accounting_cases() -> list[AccountingCase]:
    """Every scenario of the file, in its order."""
    return [_case(raw) for raw in json.loads(CASES_FILE.read_text())]


def differences(expected: Figures, actual: Figures) -> dict[str, tuple[Any, Any]]:
    """Each expected figure that `actual` does not have, as (expected, actual); numbers count by value."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, figure in expected.items():
        if name == "positions":
            for instrument_id, figures in figure.items():
                position = actual["positions"].get(instrument_id, FLAT)
                inner = differences(figures, position)
                found |= {f"{instrument_id}.{key}": pair for key, pair in inner.items()}
        elif _number(figure) != actual[name]:
            found[name] = (figure, actual[name])
    return found


def _case(raw: dict[str, Any]) -> AccountingCase:
    return AccountingCase(
        name=raw["name"],
        cash=Decimal(raw.get("cash", "0")),
        steps=tuple(_step(step) for step in raw["steps"]),
        expect=raw.get("expect", {}),
    )


def _step(raw: dict[str, Any]) -> AccountingStep:
    prices = {InstrumentId(name): Decimal(price) for name, price in raw.get("mark", {}).items()}
    return AccountingStep(
        transaction=_transaction(raw) if "type" in raw else None, prices=prices, expect=raw.get("expect", {})
    )


def _transaction(raw: dict[str, Any]) -> Transaction:
    return Transaction(
        transaction_type=TransactionType(raw["type"]),
        instrument_id=InstrumentId(raw["instrument"]),
        quantity=Decimal(raw.get("quantity", "0")),
        price=Decimal(raw.get("price", "0")),
        fee=Decimal(raw.get("fee", "0")),
        ratio=Ratio.parse(raw["ratio"]) if "ratio" in raw else None,
    )


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
