"""Long work as a generator of steps, for callers that have other things to do in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")


def drained(steps: Generator[None, None, Result]) -> Result:
    """What `steps` return at their end, taken all at once. Raises whatever they raise."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result
