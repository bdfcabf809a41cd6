"""Short ways to write transactions, commands and books in tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from portfolio.book import Book, Mark
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.decide import NO_MARKS, Decision, decide
from portfolio.ids import Currency, InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.transactions import Ratio, Transaction, TransactionType

NOW: Final = datetime(2025, 6, 21, 10, tzinfo=UTC)
X: Final = InstrumentId("X")
USD: Final = Currency("USD")
PORTFOLIO: Final = PortfolioId("PORTFOLIO-1")

WAYS_TO_STATUS: Final[Mapping[Status, tuple[Status, ...]]] = {
    Status.ACTIVE: (),
    Status.SUSPENDED: (Status.SUSPENDED,),
    Status.LIQUIDATING: (Status.LIQUIDATING,),
    Status.CLOSED: (Status.LIQUIDATING, Status.CLOSED),
}
"""The changes that lead from a new portfolio to each status."""


def minutes(count: int) -> datetime:
    """`count` minutes after NOW."""
    return NOW + timedelta(minutes=count)


def transaction(
    kind: str,
    instrument: str,
    quantity: str = "0",
    price: str = "0",
    *,
    fee: str = "0",
    ratio: str | None = None,
    transaction_id: UUID | None = None,
) -> Transaction:
    """A transaction, its numbers as they would be written."""
    return Transaction(
        transaction_type=TransactionType(kind),
        instrument_id=InstrumentId(instrument),
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        ratio=Ratio.parse(ratio) if ratio is not None else None,
        transaction_id=transaction_id,
    )


def deposit(amount: str) -> Transaction:
    return transaction("DEPOSIT", USD, amount, "1")


def buy(quantity: str, price: str, *, fee: str = "0") -> Transaction:
    return transaction("BUY", X, quantity, price, fee=fee)


def sell(quantity: str, price: str, *, fee: str = "0") -> Transaction:
    """A SELL of `quantity` units, written with the sign that it needs."""
    return transaction("SELL", X, f"-{quantity}", price, fee=fee)


def split(ratio: str, price: str = "0") -> Transaction:
    return transaction("SPLIT", X, "0", price, ratio=ratio)


def opening(*, cash: str = "0", allow_short: bool = True, min_cash: str | None = None) -> OpenPortfolio:
    return OpenPortfolio(
        portfolio_id=PORTFOLIO,
        portfolio_name="Balanced",
        base_currency=USD,
        cash_balance=Decimal(cash),
        allow_short=allow_short,
        min_cash=Decimal(min_cash) if min_cash is not None else None,
    )


def update(*transactions: Transaction, effective_at: datetime | None = None) -> UpdatePortfolio:
    return UpdatePortfolio(portfolio_id=PORTFOLIO, transactions=transactions, effective_at=effective_at)


def change(status: Status) -> ChangeStatus:
    return ChangeStatus(portfolio_id=PORTFOLIO, status=status)


def decided(
    book: Book,
    *transactions: Transaction,
    now: datetime = NOW,
    effective_at: datetime | None = None,
    marks: Mapping[InstrumentId, Mark] = NO_MARKS,
) -> Decision:
    """The decision on one update of `transactions`."""
    return decide(book, update(*transactions, effective_at=effective_at), now=now, marks=marks)


def booked(
    book: Book,
    *transactions: Transaction,
    now: datetime = NOW,
    effective_at: datetime | None = None,
    marks: Mapping[InstrumentId, Mark] = NO_MARKS,
) -> Book:
    """The book after one update of `transactions`."""
    return decided(book, *transactions, now=now, effective_at=effective_at, marks=marks).book


def book_of(
    *transactions: Transaction,
    cash: str = "0",
    allow_short: bool = True,
    min_cash: str | None = None,
    status: Status = Status.ACTIVE,
) -> Book:
    """A portfolio opened at NOW, with `transactions` booked one by one, in `status`."""
    book = decide(None, opening(cash=cash, allow_short=allow_short, min_cash=min_cash), now=NOW).book
    for item in transactions:
        book = booked(book, item)
    for step in WAYS_TO_STATUS[status]:
        book = decide(book, change(step), now=NOW).book
    return book
