"""The facts of a portfolio's life, in the order of its versions. The journal holds one row for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from portfolio.ids import Currency, InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.transactions import Ratio, TransactionType

_NAMESPACE: Final = UUID("6f1f9a0e-0c53-5b0e-9a8b-5a1c0d3c7a10").bytes

_VERSION_5: Final = 5 << 76 | 2 << 62
_ID_BITS: Final = ~(15 << 76 | 3 << 62)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The portfolio came to be. Always version 1."""

    portfolio_id: PortfolioId
    version: int
    effective_at: datetime
    recorded_at: datetime
    portfolio_name: str
    base_currency: Currency
    allow_short: bool
    min_cash: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A transaction was booked.

    `value` is what it was worth, signed: quantity times price of a trade, the cash of a cash entry or dividend, the
    cash in lieu of a split, the cost moved by a transfer. `mark` is the mark per unit after a split or a transfer in, where it depends on
    the market at that moment and so is kept. `transaction_id_given` tells the caller's ids, which are unique, from ours.
    """

    portfolio_id: PortfolioId
    version: int
    effective_at: datetime
    recorded_at: datetime
    transaction_id: UUID
    transaction_id_given: bool
    transaction_type: TransactionType
    instrument_id: InstrumentId
    quantity: Decimal
    price: Decimal
    value: Decimal
    fee: Decimal
    ratio: Ratio | None = None
    mark: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """The portfolio's status changed."""

    portfolio_id: PortfolioId
    version: int
    effective_at: datetime
    recorded_at: datetime
    status: Status


Entry = Opened | Booked | StatusChanged


def derived_id(portfolio_id: PortfolioId, version: int) -> UUID:
    """The id of a portfolio's version: of its event, and of its transaction where the caller gave none (RFC 9562, v5)."""
    digest = hashlib.sha1(b"%b%b:%d" % (_NAMESPACE, portfolio_id.encode(), version), usedforsecurity=False).digest()
    # Version and variant are put in here, since UUID takes longer for that than for all the rest.
    return UUID(int=int.from_bytes(digest[:16], "big") & _ID_BITS | _VERSION_5)
