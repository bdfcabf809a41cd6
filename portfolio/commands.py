"""What callers can ask of a portfolio, and the fingerprint by which a retry is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Final

from portfolio import money
from portfolio.ids import Currency, IdempotencyKey, PortfolioId
from portfolio.status import Status
from portfolio.transactions import Transaction

# Commands are fingerprinted before they are checked, so any number must have its own text, NaN and 1e9999999 too.
_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


USD: Final = Currency("USD")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPortfolio:
    """Open a portfolio; a `cash_balance` above 0 is booked as its first deposit."""

    portfolio_id: PortfolioId
    portfolio_name: str
    base_currency: Currency = USD
    cash_balance: Decimal = money.ZERO_2
    allow_short: bool = True
    min_cash: Decimal | None = None
    idempotency_key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePortfolio:
    """Book transactions, in order, all or none. `effective_at` None means the moment they are recorded."""

    portfolio_id: PortfolioId
    transactions: tuple[Transaction, ...]
    effective_at: datetime | None = None
    idempotency_key: IdempotencyKey | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStatus:
    """Give a portfolio another status."""

    portfolio_id: PortfolioId
    status: Status
    idempotency_key: IdempotencyKey | None = None
    expected_version: int | None = None


Command = OpenPortfolio | UpdatePortfolio | ChangeStatus


def request_hash(command: Command) -> bytes:
    """16 bytes that differ for commands that ask for different things; the key and the expected version do not count.

    1 and 1.00 ask for the same: numbers count by value.
    """
    return hashlib.blake2b(repr(_content(command)).encode(), digest_size=16).digest()


def _content(command: Command) -> tuple[object, ...]:
    match command:
        case OpenPortfolio():
            return (
                "open",
                command.portfolio_id,
                command.portfolio_name,
                command.base_currency,
                _plain(command.cash_balance),
                command.allow_short,
                None if command.min_cash is None else _plain(command.min_cash),
            )
        case UpdatePortfolio():
            effective_at = _instant(command.effective_at)
            return ("update", command.portfolio_id, effective_at, *map(_transaction_content, command.transactions))
        case ChangeStatus():
            return ("status", command.portfolio_id, command.status.value)


def _instant(moment: datetime | None) -> str:
    if moment is None or moment.tzinfo is None:
        return str(moment)
    return moment.astimezone(UTC).isoformat()


def _transaction_content(transaction: Transaction) -> tuple[object, ...]:
    return (
        transaction.transaction_type.value,
        transaction.instrument_id,
        _plain(transaction.quantity),
        _plain(transaction.price),
        _plain(transaction.fee),
        str(transaction.ratio),
        str(transaction.transaction_id),
    )


def _plain(number: Decimal) -> str:
    return str(number.normalize(_EXACT)) if number else "0"
