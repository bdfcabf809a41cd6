"""What a portfolio's settings, status and holdings allow."""

from __future__ import annotations

from decimal import Decimal

from portfolio import money
from portfolio.errors import InsufficientPosition, ShortNotAllowed, StatusForbids
from portfolio.status import Status
from portfolio.transactions import TRADES, Transaction, TransactionType


def check_status(status: Status, transaction: Transaction, held: Decimal) -> None:
    """Raises StatusForbids where the status takes no such transaction. `held` is signed.

    LIQUIDATING takes what brings a position closer to zero, cash entries, and what issuers do (dividends, splits).
    """
    match status:
        case Status.ACTIVE:
            return
        case Status.LIQUIDATING:
            kind = transaction.transaction_type
            grows = not _reduces(held, transaction.quantity)
            if kind is TransactionType.TRANSFER_IN or (kind in TRADES and grows):
                raise StatusForbids(
                    f"the portfolio is LIQUIDATING: {kind} {money.shown(transaction.quantity)} "
                    f"{transaction.instrument_id} would not bring {money.shown(held)} closer to zero",
                    status=status.value,
                    instrument_id=transaction.instrument_id,
                    held=held,
                )
        case Status.SUSPENDED | Status.CLOSED:
            raise StatusForbids(f"the portfolio is {status}: it takes no transactions", status=status.value)


def check_holding(allow_short: bool, transaction: Transaction, held: Decimal) -> None:
    """Raises ShortNotAllowed or InsufficientPosition where `held` (signed) does not allow the transaction."""
    kind = transaction.transaction_type
    if kind is TransactionType.SHORT and (held > 0 or not allow_short):
        raise _no_short(transaction, held, allow_short)
    if kind is TransactionType.TRANSFER_IN and transaction.quantity < 0 and not allow_short:
        raise _no_short(transaction, held, allow_short)
    if not _fits(allow_short, transaction, held):
        raise _insufficient(transaction, held)


def _fits(allow_short: bool, transaction: Transaction, held: Decimal) -> bool:
    """Whether enough is held, and on the right side."""
    quantity = transaction.quantity
    match transaction.transaction_type:
        case TransactionType.SELL:
            return allow_short or -quantity <= held
        case TransactionType.COVER | TransactionType.TRANSFER_OUT:
            return _reduces(held, quantity)
        case TransactionType.TRANSFER_IN:
            return not held or (held > 0) == (quantity > 0)
        case TransactionType.DIVIDEND | TransactionType.SPLIT:
            return bool(held)
        case _:
            return True


def _reduces(held: Decimal, quantity: Decimal) -> bool:
    """Whether `quantity` brings `held` closer to zero, at most to zero."""
    return bool(held) and (held > 0) != (quantity > 0) and abs(quantity) <= abs(held)


def _insufficient(transaction: Transaction, held: Decimal) -> InsufficientPosition:
    return InsufficientPosition(
        f"{transaction.transaction_type} {money.shown(transaction.quantity)} {transaction.instrument_id} does not fit: "
        f"{money.shown(held)} held",
        instrument_id=transaction.instrument_id,
        held=held,
    )


def _no_short(transaction: Transaction, held: Decimal, allow_short: bool) -> ShortNotAllowed:
    reason = f"{money.shown(held)} is held long; use SELL" if allow_short else "the portfolio allows no shorts"
    return ShortNotAllowed(
        f"{transaction.transaction_type} {money.shown(transaction.quantity)} {transaction.instrument_id}: {reason}",
        instrument_id=transaction.instrument_id,
        held=held,
    )
