"""Examples of analytics and optimisation for the OpenAPI document: one holding, without a benchmark."""

from __future__ import annotations

from typing import Any, Final

_TAILS: Final[dict[str, Any]] = {
    "historical": {"0.95": 0.0183, "0.99": 0.0301},
    "gaussian": {"0.95": 0.0191, "0.99": 0.0272},
    "cornish_fisher": {"0.95": 0.0188, "0.99": 0.0311},
}

ANALYTICS: Final[dict[str, Any]] = {
    "portfolio_id": "GROWTH-1",
    "version": 3,
    "as_of": "2025-06-21T10:00:00.000000Z",
    "window": {"periods": 252, "start": "2024-06-20", "end": "2025-06-20"},
    "conventions": {
        "periods_per_year": 252,
        "ddof": 1,
        "risk_free_rate": 0.0,
        "returns": "simple",
        "day_count": "ACT/365",
        "covariance": "sample",
        "ewma_decay": 0.94,
        "confidence_levels": [0.95, 0.99],
        "value_at_risk": "loss of one day, historical: the ceil(alpha * T)-th worst",
        "conditional_value_at_risk": "Rockafellar-Uryasev",
        "benchmark": None,
    },
    "exposure": {
        "total_value": 49999.0,
        "cash": 30354.0,
        "gross_exposure": 19645.0,
        "net_exposure": 19645.0,
        "long_exposure": 19645.0,
        "short_exposure": 0.0,
        "leverage": 0.39290786,
        "cash_weight": 0.60709214,
        "herfindahl_index": 1.0,
        "effective_positions": 1.0,
        "position_count": 1,
        "coverage": 1.0,
    },
    "performance": {
        "start": "2025-06-20",
        "end": "2025-06-21",
        "periods": 1,
        "twr": -0.00002,
        "mwr": -0.00727,
        "annualised_return": -0.00503,
        "annualised_volatility": None,
        "sharpe_ratio": None,
        "sortino_ratio": None,
        "calmar_ratio": -251.4,
        "max_drawdown": -0.00002,
        "max_drawdown_peak": "2025-06-20",
        "max_drawdown_trough": "2025-06-21",
        "max_drawdown_recovery": None,
    },
    "risk": {
        "observations": 252,
        "volatility": 0.1142,
        "ewma_volatility": 0.1203,
        "ledoit_wolf_volatility": 0.1142,
        "beta": None,
        "tracking_error": None,
        "information_ratio": None,
        "value_at_risk": _TAILS,
        "conditional_value_at_risk": _TAILS,
    },
    "contributions": [
        {
            "instrument_id": "AAPL",
            "weight": 0.39290786,
            "marginal": 0.2907,
            "component": 0.1142,
            "share": 1.0,
            "value_at_risk": _TAILS["historical"],
            "conditional_value_at_risk": _TAILS["historical"],
        }
    ],
    "stress": [
        {
            "name": "all_prices_down_10",
            "kind": "shock",
            "start": None,
            "end": None,
            "portfolio_return": -0.03929079,
            "profit_and_loss": -1964.5,
        }
    ],
    "instruments": [],
    "unavailable": {
        "performance.annualised_volatility": "too_few_observations",
        "performance.sharpe_ratio": "too_few_observations",
        "performance.sortino_ratio": "too_few_observations",
        "performance.max_drawdown_recovery": "not_recovered",
        "risk.beta": "no_benchmark",
        "risk.tracking_error": "no_benchmark",
        "risk.information_ratio": "no_benchmark",
    },
}

OPTIMISE: Final[dict[str, Any]] = {
    "objective": "minimum_variance",
    "instruments": ["AAPL", "MSFT"],
    "window": 252,
    "weight": {"lower": 0.0, "upper": 0.6},
    "invested": {"lower": 1.0, "upper": 1.0},
    "turnover_max": 2.0,
    "trade_value_min": "100",
}
OPTIMISED: Final[dict[str, Any]] = {
    "portfolio_id": "GROWTH-1",
    "version": 3,
    "as_of": "2025-06-21T10:00:00.000000Z",
    "window": {"periods": 252, "start": "2024-06-20", "end": "2025-06-20"},
    "observations": 252,
    "conventions": {
        "periods_per_year": 252,
        "ddof": 1,
        "risk_free_rate": 0.0,
        "returns": "simple",
        "covariance": "sample",
        "ewma_decay": 0.94,
        "expected_returns": "what the request gives, else the mean of the window times periods_per_year",
        "confidence_level": 0.95,
        "conditional_value_at_risk": "Rockafellar-Uryasev",
    },
    "objective": "minimum_variance",
    "status": "solved",
    "weights": {"AAPL": 0.4, "MSFT": 0.6},
    "achieved_weights": {"AAPL": 0.39683794, "MSFT": 0.59569591},
    "trades": [
        {
            "instrument_id": "AAPL",
            "quantity_change": 1.00000000,
            "price": 196.45000000,
            "transaction_type": "BUY",
        },
        {
            "instrument_id": "MSFT",
            "quantity_change": 62.00000000,
            "price": 480.40000000,
            "transaction_type": "BUY",
        },
    ],
    "cash_after": 372.75,
    "objective_value": 0.0156,
    "expected_return": 0.0941,
    "volatility": 0.1766,
    "solver": {
        "status": "solved",
        "iterations": 9,
        "primal_residual": 1.1e-16,
        "dual_residual": 3.2e-16,
        "gap": 2.4e-12,
        "binding": ["MSFT <= 0.6"],
        "conflict": [],
    },
}
