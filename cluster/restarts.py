"""How soon the next serving process is started after one has ended."""

from __future__ import annotations

from typing import Final

GOOD_LIFE_S: Final = 30.0
"""One that lived as long has started and served: what ended it was something new."""
PAUSE_MAX_S: Final = 10.0


class Restarts:
    """No pause after a good life; after short ones in a row 0, 1, 3, 7 and then 10 seconds, for ever."""

    def __init__(self) -> None:
        self._short_lives = 0

    def pause_s(self, lived_s: float) -> float:
        """How long to wait now that one has ended after `lived_s`."""
        if lived_s >= GOOD_LIFE_S:
            self._short_lives = 0
            return 0.0
        self._short_lives += 1
        return min(2.0 ** min(self._short_lives - 1, 10) - 1, PAUSE_MAX_S)
