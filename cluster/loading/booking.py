"""Books commands of many portfolios through a gateway: in order within a portfolio, many portfolios at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from actors.protocol import Answer, UpdateOutcome
from cluster.loading.patience import Backoff, Patience
from cluster.loading.report import Problems
from portfolio.book import Book
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.errors import PortfolioError
from portfolio.ids import PortfolioId

UPDATES_PER_CALL_MAX: Final = 1_000
TRANSACTIONS_PER_CALL_MAX: Final = 5_000
LANES_PER_GROUP_MAX: Final = 100
GROUPS_AT_ONCE: Final = 4
"""With 5,000 transactions each, that is a tenth of what one shard queues before it refuses."""
REBASES_MAX: Final = 100


class LoadGateway(Protocol):
    """What loading asks of the service; actors.gateway.Gateway offers it."""

    async def write(self, command: OpenPortfolio | UpdatePortfolio | ChangeStatus) -> Answer:
        """Book one command."""

    async def update_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        """Book updates, each a unit of its own; outcomes in the order asked."""

    async def book(self, portfolio_id: PortfolioId) -> Book | None:
        """The committed book; None if there is none."""

    async def known_keys(self, portfolio_id: PortfolioId, keys: Sequence[str]) -> frozenset[str]:
        """Which of these idempotency keys the portfolio has seen."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command with an idempotency key, and the line of each of its transactions where they came from a file."""

    command: OpenPortfolio | UpdatePortfolio | ChangeStatus
    lines: tuple[int, ...] = ()

    @property
    def transaction_count(self) -> int:
        return len(self.command.transactions) if isinstance(self.command, UpdatePortfolio) else 0


@dataclass(slots=True)
class Lane:
    """What is left to book in one portfolio. `version` is the book's before the next step; 0 before the opening."""

    portfolio_id: PortfolioId
    version: int
    steps: Sequence[Step]
    done: int = 0
    sent: int = 0
    """Steps that were sent at least once. One of them that turns out to be a repeat is a repeat of ours."""
    rebases: int = 0

    @property
    def is_open(self) -> bool:
        return self.done < len(self.steps)

    def ahead(self) -> Iterator[tuple[Step, UpdatePortfolio]]:
        """The updates that come next, up to the first other command, each for the version that it must find.

        So that several can be under way and none is booked unless the one before it is.
        """
        version = self.version
        for index in range(self.done, len(self.steps)):
            step = self.steps[index]
            if not isinstance(step.command, UpdatePortfolio):
                return
            yield step, replace(step.command, expected_version=version)
            version += step.transaction_count


class Booker:
    """Books lanes, and counts what became of their transactions. `advance` is told of each as it is settled."""

    def __init__(
        self,
        gateway: LoadGateway,
        problems: Problems,
        *,
        patience: Patience,
        advance: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._gateway = gateway
        self._problems = problems
        self._patience = patience
        self._advance = advance
        self.booked = 0
        self.skipped = 0
        self.updates_booked = 0
        self.portfolios_opened = 0
        self.gave_up: str | None = None

    async def book(self, lanes: Iterable[Lane]) -> None:
        """Book every step of `lanes` or record why not. Stops early, and says so in `gave_up`, at the end of patience."""
        groups = _grouped(lanes)
        workers = [asyncio.ensure_future(self._work(groups)) for _ in range(GROUPS_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _work(self, groups: Iterator[list[Lane]]) -> None:
        for group in groups:
            await self._book_group(group)
            if self.gave_up is not None:
                return

    async def _book_group(self, lanes: Sequence[Lane]) -> None:
        backoff = Backoff(self._patience)
        while (left := [lane for lane in lanes if lane.is_open]) and self.gave_up is None:
            done_before = sum(lane.done for lane in left)
            failures = [*await self._write_singles(left), *await self._write_updates(left)]
            if sum(lane.done for lane in left) > done_before:
                backoff.succeeded()
            if failures:
                try:
                    await backoff.pause(failures[0])
                except PortfolioError as error:
                    self.gave_up = f"{error.code}: {error.detail}"
