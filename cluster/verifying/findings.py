"""What differs, by kind, and how much of it: the first differences in full, the rest counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from portfolio.ids import PortfolioId, ShardId

DIFFERENCES_MAX: Final = 100
"""Differences that are kept and shown; the rest are counted."""
_VALUE_LENGTH_MAX: Final = 80


class Kind(StrEnum):
    """What can be wrong. The first word says where."""

    JOURNAL_GAP = "journal-gap"
    JOURNAL_ORDER = "journal-order"
    JOURNAL_UNREADABLE = "journal-unreadable"
    JOURNAL_HASH = "journal-hash"
    JOURNAL_HEAD = "journal-head"
    JOURNAL_BRANCH = "journal-branch"
    JOURNAL_VERSION = "journal-version"
    JOURNAL_SHARD = "journal-shard"
    JOURNAL_EPOCH = "journal-epoch"
    JOURNAL_BOOKING = "journal-booking"
    JOURNAL_INVARIANT = "journal-invariant"
    JOURNAL_KEY = "journal-key"
    JOURNAL_INDEX = "journal-index"
    CHECKPOINT_AHEAD = "checkpoint-ahead"
    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_SURPLUS = "checkpoint-surplus"
    CHECKPOINT_STALE = "checkpoint-stale"
    CHECKPOINT_DIFFERS = "checkpoint-differs"
    CHECKPOINT_VALUES = "checkpoint-values"
    MEMORY_MISSING = "memory-missing"
    MEMORY_SURPLUS = "memory-surplus"
    MEMORY_STALE = "memory-stale"
    MEMORY_DIFFERS = "memory-differs"
    DOCUMENT_DIFFERS = "document-differs"
    MIRROR_AHEAD = "mirror-ahead"
    MIRROR_STALE = "mirror-stale"
    MIRROR_DIFFERS = "mirror-differs"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it should be. Without `expected` and `found`, `field` says it all."""

    kind: Kind
    shard_id: ShardId | None = None
    seq: int | None = None
    portfolio_id: PortfolioId | None = None
    field: str
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        places = [
            None if self.shard_id is None else f"shard {self.shard_id}",
            None if self.seq is None else f"row {self.seq}",
            self.portfolio_id,
        ]
        where = ", ".join(place for place in places if place is not None)
        values = "" if self.expected is None else f" is {self.found}, expected {self.expected}"
        return f"{self.kind}: {where}: {self.field}{values}"


@dataclass(slots=True)
class Findings:
    """Differences as they are found: the first of them, how many of each kind, and which portfolios they concern."""

    kept: list[Difference] = field(default_factory=list)
    by_kind: Counter[Kind] = field(default_factory=Counter)
    portfolios: set[PortfolioId] = field(default_factory=set)

    @property
    def count(self) -> int:
        """All differences, those that are not kept too."""
        return self.by_kind.total()

    def add(self, difference: Difference) -> None:
        """Take one difference."""
        self.by_kind[difference.kind] += 1
        if difference.portfolio_id is not None:
            self.portfolios.add(difference.portfolio_id)
        if len(self.kept) < DIFFERENCES_MAX:
            self.kept.append(difference)


def shown(value: object) -> str:
    """A value in a difference, cut where it would fill the screen."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _VALUE_LENGTH_MAX else f"{text[:_VALUE_LENGTH_MAX]}... ({len(text):,} characters)"


Values = tuple[object, object]
"""What was expected, and what was found."""


def difference(
    kind: Kind,
    field: str,
    values: Values | None = None,
    *,
    shard_id: ShardId | None = None,
    seq: int | None = None,
    portfolio_id: PortfolioId | None = None,
) -> Difference:
    """A difference whose values are cut to what can be shown."""
    expected, found = (None, None) if values is None else map(shown, values)
    return Difference(
        kind=kind, shard_id=shard_id, seq=seq, portfolio_id=portfolio_id, field=field, expected=expected, found=found
    )
