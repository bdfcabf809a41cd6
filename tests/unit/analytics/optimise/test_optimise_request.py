"""Requests are taken as they are meant, or refused by name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from analytics.optimise.request import Objective, OptimiseRequest


def asked(**fields: Any) -> OptimiseRequest:
    return OptimiseRequest.model_validate({"objective": "minimum_variance", **fields})


def test_an_objective_is_enough() -> None:
    request = asked()
    assert (request.invested.lower, request.invested.upper, request.long_only, request.window) == (1, 1, True, 252)


def test_words_are_taken_in_any_case() -> None:
    assert asked(objective="Maximum_SHARPE").objective is Objective.MAXIMUM_SHARPE


def test_numbers_from_json_stay_exact_where_they_are_decimals() -> None:
    request = asked(lot=Decimal("0.00000001"), lots={"BTC": "0.1"}, trade_value_min=0.1, turnover_max=Decimal("0.2"))
    assert request.lot == Decimal("0.00000001")
    assert request.lots["BTC"] == request.trade_value_min == Decimal("0.1")
    assert request.turnover_max == 0.2


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"turnover": 0.1}, "turnover"),
        ({"turnover_max": float("nan")}, "turnover_max"),
        ({"window": 1}, "window"),
        ({"lot": 0}, "lot"),
        ({"lot": "1e-9"}, "8 decimals"),
        ({"lot": "9" * 50}, "40 characters"),
        ({"weight": {"lower": 0.3, "upper": 0.2}}, "lower 0.3 is above upper 0.2"),
        ({"weight": {"upper": -0.1}}, "long_only"),
        ({"instruments": ["A", "A"]}, "instruments has A twice"),
        ({"instruments": ["A"], "bounds": {"B": {"upper": 1}}}, "bounds has B, which is not in instruments"),
        ({"instruments": ["A"], "groups": {"g": {"instruments": ["B"]}}}, "groups.g.instruments has B"),
        ({"instruments": ["A B"]}, "instruments"),
        ({"benchmark": "SP500"}, "for tracking"),
        ({"objective": "tracking"}, "one of benchmark and benchmark_weights"),
        ({"objective": "tracking", "benchmark": "X", "benchmark_weights": {"Y": 1}}, "one of"),
        ({"objective": "risk_parity", "weight": {"upper": 1}}, "risk_parity takes no weight"),
        ({"objective": "risk_parity", "long_only": False}, "long only"),
        ({"objective": "risk_parity", "invested": {"lower": 1}}, "invested.upper"),
        ({"objective": "maximum_diversification", "cost": 0.1}, "takes no cost"),
        ({"budgets": {"A": 1}}, "budgets are for risk_parity"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        asked(**fields)
