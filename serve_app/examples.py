"""Examples for the OpenAPI document; a test shows that the service takes and gives what they show."""

from __future__ import annotations

from typing import Any, Final

_TIME: Final = "2025-06-21T10:00:00.000000Z"

OPENING: Final[dict[str, Any]] = {
    "portfolio_id": "GROWTH-1",
    "portfolio_name": "Growth",
    "base_currency": "USD",
    "cash_balance": 50000.00,
    "allow_short": True,
    "min_cash": None,
}
UPDATE: Final[dict[str, Any]] = {
    "updates": [
        {"instrument_id": "AAPL", "quantity_change": 100, "price": "196.45", "transaction_type": "BUY", "fee": "1.00"}
    ],
    "timestamp": _TIME,
}
BATCH: Final[dict[str, Any]] = {"updates": [{"portfolio_id": "GROWTH-1", "idempotency_key": "day-1:1", **UPDATE}]}
MARKS: Final[dict[str, Any]] = {"marks": [{"instrument_id": "AAPL", "price": "197.20", "as_of": _TIME}]}
_HOLDING: Final[dict[str, Any]] = {
    "instrument_id": "AAPL",
    "position_type": "LONG",
    "quantity": 100.00000000,
    "market_value": 19645.00,
    "weight": 0.392908,
    "unrealized_pnl": 0.00,
    "cost_basis": 19645.000000,
    "average_cost": 196.450000,
    "realized_pnl": 0.000000,
    "mark_price": 196.45000000,
    "mark_time": _TIME,
    "mark_source": "trade",
    "last_updated": _TIME,
}
_CASH: Final[dict[str, Any]] = {
    **_HOLDING,
    "instrument_id": "USD",
    "position_type": "CASH",
    "quantity": 30354.00,
    "market_value": 30354.00,
    "weight": 0.607092,
    "cost_basis": 30354.000000,
    "average_cost": 1.000000,
    "mark_price": 1.000000,
}
_SUMMARY: Final[dict[str, Any]] = {
    "portfolio_id": "GROWTH-1",
    "portfolio_name": "Growth",
    "base_currency": "USD",
    "status": "ACTIVE",
    "version": 3,
    "total_value": 49999.00,
    "cash_balance": 30354.00,
}
STATE: Final[dict[str, Any]] = {
    **_SUMMARY,
    "realized_pnl": 0.000000,
    "unrealized_pnl": 0.00,
    "income": 0.00,
    "fees": 1.00,
    "taxes": 0.00,
    "gross_exposure": 19645.00,
    "net_exposure": 19645.00,
    "positions": [_HOLDING, _CASH],
    "weights": {"AAPL": 0.392908, "USD": 0.607092},
    "last_updated": _TIME,
}
SUMMARIES: Final[dict[str, Any]] = {"items": [{**_SUMMARY, "last_updated": _TIME}], "next_cursor": None}
TRANSACTIONS: Final[dict[str, Any]] = {
    "items": [
        {
            "transaction_id": "6b0f0f6e-6a0e-5c5c-8f4e-0d6f3a1b2c3d",
            "version": 3,
            "instrument_id": "AAPL",
            "transaction_type": "BUY",
            "quantity": 100.00000000,
            "price": 196.45000000,
            "transaction_value": 19645.00,
            "fee": 1.00,
            "transaction_date": _TIME,
            "recorded_at": _TIME,
            "idempotency_key": "day-1:1",
        }
    ],
    "next_cursor": None,
}
RESULTS: Final[dict[str, Any]] = {"results": [{"portfolio_id": "GROWTH-1", "status": 200, "version": 3}]}
QUERY: Final[dict[str, Any]] = {
    "sql": "select instrument_id, sum(market_value) as value from positions group by all order by value desc limit 10"
}
QUERIED: Final[dict[str, Any]] = {
    "columns": [{"name": "instrument_id", "type": "VARCHAR"}, {"name": "value", "type": "DECIMAL(38,2)"}],
    "rows": [["AAPL", 19645.00]],
}
