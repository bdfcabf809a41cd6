"""What a caller may ask to be booked: the types, and the form each must have."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from portfolio import money
from portfolio.errors import InvalidRequest
from portfolio.ids import Currency, InstrumentId, instrument_id

SPLIT_TERM_MAX: Final = 1_000_000


class TransactionType(StrEnum):
    BUY = "BUY"
    SELL = "SELL"
    SHORT = "SHORT"
    COVER = "COVER"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    INTEREST = "INTEREST"
    FEE = "FEE"
    TAX = "TAX"
    DIVIDEND = "DIVIDEND"
    SPLIT = "SPLIT"
    TRANSFER_IN = "TRANSFER_IN"
    TRANSFER_OUT = "TRANSFER_OUT"


TRADES: Final = frozenset({TransactionType.BUY, TransactionType.SELL, TransactionType.SHORT, TransactionType.COVER})
CASH_ENTRIES: Final = frozenset(
    {
        TransactionType.DEPOSIT,
        TransactionType.WITHDRAWAL,
        TransactionType.INTEREST,
        TransactionType.FEE,
        TransactionType.TAX,
    }
)
TRANSFERS: Final = frozenset({TransactionType.TRANSFER_IN, TransactionType.TRANSFER_OUT})

_POSITIVE: Final = frozenset({TransactionType.BUY, TransactionType.COVER, TransactionType.DEPOSIT})
_NEGATIVE: Final = frozenset({TransactionType.SELL, TransactionType.SHORT, TransactionType.WITHDRAWAL})
_NO_QUANTITY: Final = frozenset({TransactionType.DIVIDEND, TransactionType.SPLIT})
_PRICE_ABOVE_ZERO: Final = TRADES | {TransactionType.DIVIDEND}
_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A split's terms: `new` units for each `old` units. Raises InvalidRequest outside 1 to 1,000,000."""

    new: int
    old: int

    def __post_init__(self) -> None:
        if not (1 <= self.new <= SPLIT_TERM_MAX and 1 <= self.old <= SPLIT_TERM_MAX):
            raise _wrong_ratio(f"{self.new}:{self.old}"[:40])

    def __str__(self) -> str:
        return f"{self.new}:{self.old}"

    @classmethod
    def parse(cls, text: str) -> Ratio:
        """ "2:1" as a ratio. Raises InvalidRequest."""
        new, colon, old = text.partition(":")
        if colon and new.isascii() and new.isdigit() and old.isascii() and old.isdigit() and len(text) <= 15:
            return cls(int(new), int(old))
        raise _wrong_ratio(text[:40])


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction as a caller asks for it. `quantity` is signed; `price` is per unit in the base currency."""

    transaction_type: TransactionType
    instrument_id: InstrumentId
    quantity: Decimal
    price: Decimal
    fee: Decimal = money.ZERO_2
    ratio: Ratio | None = None
    transaction_id: UUID | None = None


def checked(transaction: Transaction, base_currency: Currency) -> Transaction:
    """The same transaction with every number at its own scale, if its form is right for its type.

    Raises InvalidRequest, naming the field: too many digits, beyond the limits, a sign or a price that contradicts
    the type, a fee where none can be, a ratio missing or out of place.
    """
    kind = transaction.transaction_type
    is_cash = kind in CASH_ENTRIES
    instrument = instrument_id(transaction.instrument_id)
    if is_cash != (str(transaction.instrument_id) == base_currency):
        raise _wrong_instrument(transaction, base_currency)
    scale = money.CASH_SCALE if is_cash else money.QUANTITY_SCALE
    quantity = money.exact(transaction.quantity, field="quantity_change", scale=scale)
    price = money.exact(transaction.price, field="price", scale=money.PRICE_SCALE)
    fee = money.exact(transaction.fee, field="fee", scale=money.CASH_SCALE)
    _check_sign(kind, quantity)
    _check_price(kind, price)
    if fee and (fee < 0 or kind not in TRADES):
        raise InvalidRequest(
            f"fee is {fee}, expected none below 0, and only on {_names(TRADES)}; book others as FEE", field="fee"
        )
    if (transaction.ratio is not None) != (kind is TransactionType.SPLIT):
        raise InvalidRequest(f"ratio is {transaction.ratio}, expected one with SPLIT and with no other", field="ratio")
    return Transaction(
        transaction_type=kind,
        instrument_id=instrument,
        quantity=money.add(quantity, money.ZERO_8),
        price=price,
        fee=fee,
        ratio=transaction.ratio,
        transaction_id=transaction.transaction_id,
    )


def _check_sign(kind: TransactionType, quantity: Decimal) -> None:
    if kind in _POSITIVE:
        expected, right = "above 0", quantity > 0
    elif kind in _NEGATIVE:
        expected, right = "below 0", quantity < 0
    elif kind in _NO_QUANTITY:
        expected, right = "0", not quantity
    else:
        expected, right = "other than 0", bool(quantity)
    if not right:
        raise InvalidRequest(
            f"quantity_change is {money.shown(quantity)}, expected {expected} for {kind}", field="quantity_change"
        )


def _check_price(kind: TransactionType, price: Decimal) -> None:
    if kind in CASH_ENTRIES:
        expected, right = "1", price == _ONE
    elif kind in _PRICE_ABOVE_ZERO:
        expected, right = "above 0", price > 0
    elif kind is TransactionType.TRANSFER_OUT:
        expected, right = "0", not price
    else:
        expected, right = "0 or above", price >= 0
    if not right:
        raise InvalidRequest(f"price is {money.shown(price)}, expected {expected} for {kind}", field="price")


def _wrong_instrument(transaction: Transaction, base_currency: Currency) -> InvalidRequest:
    expected = "the base currency" if transaction.transaction_type in CASH_ENTRIES else "an instrument, not"
    return InvalidRequest(
        f"instrument_id is {transaction.instrument_id!r}, expected {expected} {base_currency} "
        f"for {transaction.transaction_type}",
        field="instrument_id",
        instrument_id=transaction.instrument_id,
    )


def _wrong_ratio(text: str) -> InvalidRequest:
    return InvalidRequest(
        f'ratio is {text!r}, expected "new:old" of whole numbers from 1 to {SPLIT_TERM_MAX:,}', field="ratio"
    )


def _names(kinds: frozenset[TransactionType]) -> str:
    return ", ".join(sorted(kinds))
