"""Chance that is the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Draws that depend on the seed alone.

    Built on `random()` only: it is the one method whose sequence Python promises to keep from version to version. No
    logarithms or powers of floats either, which differ in the last digit from machine to machine.
    """

    def __init__(self, seed: str) -> None:
        self._random = Random(seed).random  # noqa: S311 - A sample needs repeatable draws, not unpredictable ones.

    def between(self, lowest: int, highest: int) -> int:
        """A whole number from `lowest` to `highest`, both included."""
        return lowest + int(self._random() * (highest - lowest + 1))

    def one_of(self, items: Sequence[T]) -> T:
        """One of `items`, each as likely as any other."""
        return items[self.between(0, len(items) - 1)]

    def some_of(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different ones of `items`, in any order."""
        left = list(items)
        return [left.pop(self.between(0, len(left) - 1)) for _ in range(count)]
