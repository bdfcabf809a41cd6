"""What loading asks of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from actors.gateway import MarkCounts
from actors.protocol import Answer, UpdateOutcome
from portfolio.book import Book, Mark
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.ids import InstrumentId, PortfolioId


class LoadGateway(Protocol):
    """The part of actors.gateway.Gateway that loading needs."""

    async def write(self, command: OpenPortfolio | UpdatePortfolio | ChangeStatus) -> Answer:
        """Book one command."""

    async def update_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        """Book updates, each a unit of its own; outcomes in the order asked."""

    async def book(self, portfolio_id: PortfolioId) -> Book | None:
        """The committed book; None if there is none."""

    async def known_keys(self, portfolio_id: PortfolioId, keys: Sequence[str]) -> frozenset[str]:
        """Which of these idempotency keys the portfolio has seen."""

    async def update_marks(self, marks: Mapping[InstrumentId, Mark]) -> MarkCounts:
        """Record market marks."""
