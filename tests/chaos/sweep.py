"""One pass over moments: who was told less than was known before he asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class Known(Generic[Source]):
    """From `at` on, somebody had been told `number` by an answer."""

    at: float
    number: int
    source: Source


@dataclass(frozen=True, slots=True)
class Told(Generic[Source]):
    """A request that left at `sent` was answered with `number`."""

    sent: float
    number: int
    source: Source


def told_less(known: Iterable[Known[Source]], told: Iterable[Told[Source]]) -> Iterator[tuple[Source, Source]]:
    """Each answer that is below a number known before it was asked for, and the highest of those.

    Requests under way at the same moment may be served in any order, so only what was known strictly before counts.
    Sorting takes O(n log n), the pass itself O(n).
    """
    before = iter(sorted(known, key=lambda one: one.at))
    upcoming = next(before, None)
    highest: Known[Source] | None = None
    for one in sorted(told, key=lambda one: one.sent):
        while upcoming is not None and upcoming.at < one.sent:
            if highest is None or upcoming.number > highest.number:
                highest = upcoming
            upcoming = next(before, None)
        if highest is not None and one.number < highest.number:
            yield one.source, highest.source
