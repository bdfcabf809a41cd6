"""Scenarios with figures from other systems' own tests; every one must hold."""

from datetime import timedelta

import pytest

from portfolio import money
from portfolio.book import Book, Mark
from portfolio.decide import decide
from portfolio.ids import InstrumentId
from portfolio.invariants import check_book
from portfolio.valuation import value
from tests.oracles.accounting_cases import AccountingCase, Figures, accounting_cases, differences
from tests.oracles.builders import NOW, opening, update

CASES = accounting_cases()


def figures(book: Book, marks: dict[InstrumentId, Mark]) -> Figures:
    """A book's figures as AccountingCase expects them."""
    valuation = value(book, marks)
    positions = {
        item.position.instrument_id: {
            "quantity": item.position.quantity,
            "cost_basis": item.position.cost_basis,
            "average_cost": money.round6(money.divide(item.position.cost_basis, item.position.quantity)),
            "realized_pnl": item.position.realized_pnl,
            "market_value": item.market_value,
            "unrealized_pnl": item.unrealized_pnl,
            "weight": valuation.weight(item.market_value),
        }
        for item in valuation.positions
    }
    return {
        "total_value": valuation.total_value,
        "cash_balance": book.cash,
        "realized_pnl": book.realized_pnl,
        "fees": book.fees,
        "gross_exposure": valuation.gross_exposure,
        "net_exposure": valuation.net_exposure,
        "positions": positions,
    }


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_scenario_gives_the_figures_of_its_source(case: AccountingCase) -> None:
    book = decide(None, opening(cash=str(case.cash)), now=NOW).book
    marks: dict[InstrumentId, Mark] = {}
    for index, step in enumerate(case.steps):
        now = NOW + timedelta(seconds=index)
        if step.transaction is not None:
            book = decide(book, update(step.transaction), now=now, marks=marks).book
        marks |= {instrument_id: Mark(price, now) for instrument_id, price in step.prices.items()}
        check_book(book)
        assert differences(step.expect, figures(book, marks)) == {}, f"step {index}"
    assert differences(case.expect, figures(book, marks)) == {}


def test_every_scenario_expects_something() -> None:
    assert len(CASES) == 19
    assert [case.name for case in CASES if not case.expect and not any(step.expect for step in case.steps)] == []
