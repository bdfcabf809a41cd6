"""What is to be booked in one portfolio, in order, and how lanes of many portfolios share a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.ids import PortfolioId

UPDATES_PER_CALL_MAX: Final = 1_000
TRANSACTIONS_PER_CALL_MAX: Final = 5_000
"""As many rows as a shard commits in one batch, and far below what fits into one frame of the link."""
LANES_PER_GROUP_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Step:
    """A command with an idempotency key, and the line of each of its transactions where they came from a file."""

    command: OpenPortfolio | UpdatePortfolio | ChangeStatus
    lines: Sequence[int] = ()

    @property
    def transaction_count(self) -> int:
        """Transactions that the caller asked for."""
        return len(self.command.transactions) if isinstance(self.command, UpdatePortfolio) else 0

    @property
    def entry_count(self) -> int:
        """By how much it raises the portfolio's version."""
        match self.command:
            case UpdatePortfolio():
                return len(self.command.transactions)
            case OpenPortfolio():
                return 2 if self.command.cash_balance else 1
            case ChangeStatus():
                return 1


@dataclass(slots=True)
class Lane:
    """The steps of one portfolio. `version` is the book's before the step `done`; it is 0 before an opening.

    `sent` counts the steps that were sent at least once: if one of those is answered as a repeat, it repeats ourselves.
    """

    portfolio_id: PortfolioId
    version: int
    steps: Sequence[Step]
    done: int = 0
    sent: int = 0
    rebases: int = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a next step."""
        return self.done < len(self.steps)

    @property
    def next(self) -> Step:
        """The step to book next."""
        return self.steps[self.done]

    @property
    def transactions_left(self) -> int:
        """Transactions of the steps that are not done."""
        return sum(self.steps[index].transaction_count for index in range(self.done, len(self.steps)))

    def updates_ahead(self) -> Iterator[UpdatePortfolio]:
        """The updates that come next, up to the first other command, each for the version that it must find.

        Several can be under way at once for that: none is booked unless the one before it is.
        """
        version = self.version
        for index in range(self.done, len(self.steps)):
            command = self.steps[index].command
            if not isinstance(command, UpdatePortfolio):
                return
            yield replace(command, expected_version=version)
            version += len(command.transactions)


def grouped(lanes: Iterable[Lane]) -> Iterator[list[Lane]]:
    """Lanes in groups that are worth a call: 100 of them, or fewer with 5,000 transactions. Takes them as they come."""
    group: list[Lane] = []
    transactions = 0
    for lane in lanes:
        group.append(lane)
        transactions += lane.transactions_left
        if len(group) >= LANES_PER_GROUP_MAX or transactions >= TRANSACTIONS_PER_CALL_MAX:
            yield group
            group, transactions = [], 0
    if group:
        yield group


def one_call(lanes: Iterable[Lane]) -> list[tuple[Lane, list[UpdatePortfolio]]]:
    """The next updates of `lanes` that fit into one call, at least one if there is one."""
    chosen: list[tuple[Lane, list[UpdatePortfolio]]] = []
    updates = transactions = 0
    for lane in lanes:
        commands: list[UpdatePortfolio] = []
        for command in lane.updates_ahead():
            updates += 1
            transactions += len(command.transactions)
            if updates > UPDATES_PER_CALL_MAX or (updates > 1 and transactions > TRANSACTIONS_PER_CALL_MAX):
                return [*chosen, (lane, commands)] if commands else chosen
            commands.append(command)
        if commands:
            chosen.append((lane, commands))
    return chosen
