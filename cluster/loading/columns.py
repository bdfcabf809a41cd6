"""The columns that a kind of file may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portfolio.errors import InvalidRequest

_SHOWN_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """All columns that there may be, and which of them there must be. Cells of `numbers`, `moments` (with a time zone) and
    `days` may be typed as such in a Parquet file, others are text.
    """

    known: Sequence[str]
    required: Sequence[str]
    numbers: frozenset[str]
    moments: frozenset[str] = frozenset()
    days: frozenset[str] = frozenset()

    def check(self, path: Path, found: Sequence[str]) -> None:
        """Raises InvalidRequest, naming all unknown, missing and repeated columns of a file."""
        wrong = [f"unknown column {name!r}" for name in found if name not in self.known]
        wrong += [f"missing column {name!r}" for name in self.required if name not in found]
        wrong += [f"column {name!r} stands twice" for name in self.known if list(found).count(name) > 1]
        if wrong:
            more = f"; and {len(wrong) - _SHOWN_MAX} more" if wrong[_SHOWN_MAX:] else ""
            shown = "; ".join(wrong[:_SHOWN_MAX]) + more
            raise InvalidRequest(f"{path}: {shown}. The columns are {', '.join(self.known)}")
