"""The newest idempotency keys of a shard, so that most retries are known without asking the journal."""

from __future__ import annotations

from collections.abc import Mapping

from portfolio.ids import PortfolioId
from portfolio.ports import RequestKey


class RecentKeys:
    """Request hashes by key, the newest `size_max` of them. `is_complete` while none was ever left out."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._hashes: dict[RequestKey, bytes] = {}
        self.is_complete = True

    def get(self, key: RequestKey) -> bytes | None:
        """The request hash of a key, if it is known here."""
        return self._hashes.get(key)

    def relearn(self, portfolio_id: PortfolioId, hashes: Mapping[RequestKey, bytes]) -> None:
        """Know these of a portfolio, all that it has, in place of what was known: that may be from rows that were damaged."""
        for key in [key for key in self._hashes if key[0] == portfolio_id]:
            del self._hashes[key]
        self.learn(hashes)

    def learn(self, hashes: Mapping[RequestKey, bytes]) -> None:
        """Remember keys; the oldest are forgotten beyond the bound."""
        self._hashes.update(hashes)
        while len(self._hashes) > self._size_max:
            self.is_complete = False
            del self._hashes[next(iter(self._hashes))]
