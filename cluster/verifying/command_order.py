"""Whether a shard's rows are those of whole commands, one after another."""

from __future__ import annotations

from portfolio.ids import IdempotencyKey, PortfolioId
from portfolio.ports import StoredRow


class CommandOrder:
    """All rows of a command bear its idempotency key and stand together; the first alone has the request's hash."""

    def __init__(self) -> None:
        self._before: tuple[PortfolioId, IdempotencyKey] | None = None

    def problem(self, row: StoredRow) -> str | None:
        """What is wrong with the next row, if anything is."""
        key = row.idempotency_key
        before = self._before
        self._before = None if key is None else (row.entry.portfolio_id, key)
        if key is None:
            return None if row.request_hash is None else "has a request's hash and no idempotency key"
        if row.request_hash is None and self._before != before:
            return f"continues a command with key {key!r}, and the row before it is of another"
        return None
