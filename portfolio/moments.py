"""Moments as text."""

from __future__ import annotations

from datetime import datetime


def written(moment: datetime) -> str:
    """A moment in UTC as every document has it, always with microseconds and Z: 2025-06-21T10:00:00.000000Z."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
