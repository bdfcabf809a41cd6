"""A document becomes a row: every figure in a column of its own name, nothing lost, nothing rounded."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import polars as pl

from cluster.batch.table import SCHEMA, rows
from portfolio.ids import PortfolioId
from tests.oracles.analytics_documents import analytics_of
from tests.oracles.builders import minutes


def test_each_figure_has_a_column_of_its_path() -> None:
    (row,) = rows([analytics_of("P-1")], {}).to_dicts()
    assert (row["portfolio_id"], row["version"], row["as_of"]) == ("P-1", 7, minutes(0))
    assert row["window_start"] == date(2021, 12, 28)
    assert row["exposure_position_count"] == 3
    assert row["performance_twr"] == -0.12
    assert row["risk_value_at_risk_historical_95"] == 0.01
    assert row["risk_conditional_value_at_risk_cornish_fisher_99"] == 0.025
    assert row["risk_beta"] is row["risk_value_at_risk_gaussian_99"] is row["performance_max_drawdown_recovery"] is None


def test_nothing_of_a_document_is_left_out_but_its_conventions() -> None:
    document = analytics_of("P-1")
    plain: dict[str, Any] = msgspec.to_builtins(document)
    del plain["conventions"]
    assert len(SCHEMA) == sum(map(_leaves, plain.values())) - len(plain["unavailable"]) + 1
    (row,) = rows([document], {}).to_dicts()
    assert [one["instrument_id"] for one in row["contributions"]] == ["AAPL", "GE"]
    told = msgspec.to_builtins(document.contributions[1])
    parts = {"value_at_risk": {"95": 0.004, "99": 0.008}, "conditional_value_at_risk": {"95": 0.005, "99": 0.01}}
    assert row["contributions"][1] == told | parts
    assert row["stress"][0]["start"] == date(2020, 2, 19)
    assert row["instruments"] == [{"instrument_id": "GE", "status": "gaps"}]
    assert {one["figure"]: one["reason"] for one in row["unavailable"]} == document.unavailable


def _leaves(value: Any) -> int:
    return sum(map(_leaves, value.values())) if isinstance(value, dict) else 1


def test_a_portfolio_in_quarantine_has_a_row_with_its_reason_and_no_figures() -> None:
    (one, other) = rows([analytics_of("P-1")], {PortfolioId("P-2"): "row 3 does not match its hash"}).to_dicts()
    assert one["portfolio_id"] == "P-1"
    assert {name: value for name, value in other.items() if value is not None} == {
        "portfolio_id": "P-2",
        "unavailable": [{"figure": "*", "reason": "in quarantine: row 3 does not match its hash"}],
    }


def test_chunks_fit_together_whatever_is_null_in_them() -> None:
    parts = [rows([analytics_of("P-1")], {}), rows([], {PortfolioId("P-2"): "?"}), rows([], {})]
    assert pl.concat(parts).schema == SCHEMA
