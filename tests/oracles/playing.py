"""Playing a history against the core, keeping what was decided on the way."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal

from portfolio.book import Book
from portfolio.decide import decide
from portfolio.entries import Entry
from portfolio.errors import Conflict, Rejected
from portfolio.ids import InstrumentId
from portfolio.transactions import Transaction, TransactionType
from tests.oracles.builders import NOW
from tests.oracles.strategies import History, Step


@dataclass(slots=True)
class Played:
    """Every book there was, the entries between them, the transactions booked, and the steps refused with the error."""

    books: list[Book]
    entries: list[Entry]
    transactions: list[Transaction] = field(default_factory=list)
    refused: list[tuple[Step, Rejected | Conflict]] = field(default_factory=list)

    @property
    def book(self) -> Book:
        """The last book."""
        return self.books[-1]


def play(history: History) -> Played:
    """The history's commands decided one after another. Fails if a refused command left a trace in the book."""
    first = decide(None, history.opening, now=NOW)
    played = Played([first.book], list(first.entries))
    if history.opening.cash_balance:
        played.transactions.append(_first_deposit(history))
    for step in history.steps:
        before = played.book
        copy = deepcopy(before)
        try:
            decision = decide(before, step.command, now=step.now, marks=step.marks)
        except (Rejected, Conflict) as error:
            played.refused.append((step, error))
        else:
            played.books.append(decision.book)
            played.entries.extend(decision.entries)
            played.transactions.extend(getattr(step.command, "transactions", ()))
        assert before == copy
    return played


def _first_deposit(history: History) -> Transaction:
    return Transaction(
        transaction_type=TransactionType.DEPOSIT,
        instrument_id=InstrumentId(history.opening.base_currency),
        quantity=history.opening.cash_balance,
        price=Decimal(1),
    )
