"""How long an owner may answer: for a while after it last proved to own its shard, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable


def boot_clock() -> float:
    """Seconds since the machine started, those included in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """An owner's right to answer without asking Postgres.

    It runs from the moment *before* the question was sent that proved the ownership, so it ends no later than
    `duration_s` after the proof itself. A claimant ends all further proofs at once, waits `duration_s` by its own clock,
    and then knows that the lease is over; no two clocks are ever compared.
    """

    def __init__(self, duration_s: float, clock: Callable[[], float] = boot_clock) -> None:
        self.duration_s = duration_s
        self.now = clock
        self.proven_at = float("-inf")
        self._doubted_at = float("-inf")
        self._is_given_up = False

    def proven(self, asked_at: float) -> None:
        """Count from `asked_at`, a moment of `now` before a question was sent which has shown the ownership."""
        self.proven_at = max(self.proven_at, asked_at)

    def doubt(self) -> None:
        """A proof was asked for and not given."""
        self._doubted_at = self.now()

    @property
    def is_doubted(self) -> bool:
        """Whether no proof has been asked for since one was not given."""
        return self._doubted_at > self.proven_at

    def give_up(self) -> None:
        """Answer no more, whatever is proven later."""
        self._is_given_up = True

    @property
    def remaining_s(self) -> float:
        """Seconds for which the owner may still answer; negative once the lease has ended."""
        return self.proven_at + self.duration_s - self.now()

    @property
    def is_held(self) -> bool:
        """Whether the owner may answer."""
        return not self._is_given_up and self.remaining_s > 0
