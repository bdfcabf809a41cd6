"""Consecutive rows of a portfolio as updates, and the keys that tell which of them are booked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from cluster.loading.rows import Item
from portfolio.commands import UpdatePortfolio
from portfolio.decide import TRANSACTIONS_MAX
from portfolio.ids import IdempotencyKey, PortfolioId

Chunk = Sequence[Item]
"""1 to 1,000 consecutive rows of one portfolio with one timestamp: one update."""


def by_portfolio(items: Iterable[Item]) -> dict[PortfolioId, list[Item]]:
    """The rows of each portfolio, in the order of the file."""
    found: dict[PortfolioId, list[Item]] = {}
    for item in items:
        found.setdefault(item.portfolio_id, []).append(item)
    return found


def chunks_of(items: Iterable[Item]) -> Iterator[Chunk]:
    """The updates that the rows of one portfolio make."""
    for _, rows in groupby(items, key=lambda item: item.effective_at):
        same = list(rows)
        for start in range(0, len(same), TRANSACTIONS_MAX):
            yield same[start : start + TRANSACTIONS_MAX]


def key_of(digest: str, portfolio_id: PortfolioId, number: int) -> IdempotencyKey:
    """The key of a portfolio's update `number`, from 0, of the file whose content has `digest`."""
    return IdempotencyKey(f"load:{digest}:{portfolio_id}:{number}")


def opening_key(digest: str, portfolio_id: PortfolioId) -> IdempotencyKey:
    """The key of the opening of a portfolio that did not exist."""
    return IdempotencyKey(f"load:{digest}:{portfolio_id}:open")


def update_of(portfolio_id: PortfolioId, chunk: Chunk, key: IdempotencyKey | None = None) -> UpdatePortfolio:
    """A chunk as a command."""
    return UpdatePortfolio(
        portfolio_id=portfolio_id,
        transactions=tuple(item.transaction for item in chunk),
        effective_at=chunk[0].effective_at,
        idempotency_key=key,
    )
