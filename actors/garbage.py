"""The garbage collector in a process whose event loop answers callers: it stops everything while it looks.

Nearly all that shards and replicas let go of is freed by its reference count. Of the cycles that are left, the youngest
generations get hold; the oldest is full of what lives on, and going through it takes 0.1 us for each object.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (10_000, 5, 1_000)
"""CPython's own (700, 10, 10) had a replica look 250 times a second, and once a second for 5 to 16 ms; nothing was found.

The middle generation is kept small: what a growing shard has just made lives on, and 50,000 objects take 5 ms.
"""


def look_rarely() -> None:
    """From now on look at new objects only, and rarely. To be called once what lives for long has been made."""
    # Nothing is collected first: that takes longer the more a shard holds, just when callers wait for it.
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
