"""The life of a portfolio: which status may follow which."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    LIQUIDATING = "LIQUIDATING"
    CLOSED = "CLOSED"


NEXT: Final[dict[Status, frozenset[Status]]] = {
    Status.ACTIVE: frozenset({Status.SUSPENDED, Status.LIQUIDATING}),
    Status.SUSPENDED: frozenset({Status.ACTIVE}),
    Status.LIQUIDATING: frozenset({Status.ACTIVE, Status.CLOSED}),
    Status.CLOSED: frozenset(),
}
