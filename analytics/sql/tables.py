"""The tables that a query can name. What their columns are stands in analytics/frames.py."""

from __future__ import annotations

from enum import StrEnum


class Table(StrEnum):
    PORTFOLIOS = "portfolios"
    POSITIONS = "positions"
    TRANSACTIONS = "transactions"
    PRICES = "prices"
    HISTORY = "history"
