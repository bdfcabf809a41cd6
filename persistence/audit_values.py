"""What an audit finds stored, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from portfolio.book import Book
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.ports import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """A shard as its own row describes it. `branch` is the parent's row that its journal goes on from."""

    shard_id: ShardId
    modulus: int
    epoch: int
    head: Head
    checkpoint_seq: int
    parent: ShardId | None
    branch: Head


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A portfolio that its shard has set apart."""

    portfolio_id: PortfolioId
    shard_id: ShardId
    reason: str


@dataclass(frozen=True, slots=True)
class Stray:
    """Rows of `table` that are filed under a shard that there is not."""

    table: str
    shard_id: int
    example: PortfolioId
    count: int


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A journal row that holds a value which Python has no equal for, such as an infinite time."""

    seq: int
    epoch: int
    portfolio_id: PortfolioId
    row_hash: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class ValuedColumns:
    """What the checkpoint has computed of a position."""

    instrument_id: InstrumentId
    position_type: str
    mark_price: Decimal
    market_value: Decimal
    weight: Decimal | None
    unrealized_pnl: Decimal


@dataclass(frozen=True, slots=True)
class SavedBook:
    """A book of the checkpoint, and its figures at the marks of when it was saved."""

    book: Book
    total_value: Decimal
    positions: Sequence[ValuedColumns]


@dataclass(frozen=True, slots=True)
class RepeatedKey:
    """An idempotency key that was accepted more than once."""

    portfolio_id: PortfolioId
    key: str
    first_seq: int
    count: int
