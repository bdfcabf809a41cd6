"""How much one query may take before it is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024
SQL_LENGTH_MAX: Final = 20_000
"""Characters of a query; the longest that people write by hand are a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one query.

    It may compute for `computing_s`, for which on a machine that has other things to do it may wait up to `waiting_s`.
    `memory_bytes` is what its process may take besides itself and the tables that it reads, which it shares. The rows
    as the engine holds them, and the answer as it is sent, may each have `answer_bytes_max`.
    """

    computing_s: float = 10.0
    waiting_s: float = 60.0
    memory_bytes: int = 1024 * MIB
    rows_max: int = 100_000
    answer_bytes_max: int = 32 * MIB
