"""Faults that a long run must not miss every time: if it does, it is the harness that does not see appends any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tests.chaos.kinds import Kind
from tests.chaos.playing import Strike
from tests.chaos.schedule import BLOCK_S

# These look for an append on the wire or among the server's queries, and there is one at nearly every moment of the load.
SURE_TO_STRIKE: Final = (Kind.TERMINATE_IN_COMMIT, Kind.POSTGRES_CUT_AFTER_COMMIT)


def never_struck(strikes: Iterable[Strike], duration_s: float) -> list[str]:
    """What to say of each such kind that was played and missed every time, in a run of ten minutes or more.

    In a shorter run each comes once or twice, and Postgres may just be away.
    """
    if duration_s < BLOCK_S:
        return []
    played = [strike for strike in strikes if strike.kind in SURE_TO_STRIKE]
    silent = {strike.kind for strike in played} - {strike.kind for strike in played if not strike.missed}
    return [f"{kind}: never struck" for kind in SURE_TO_STRIKE if kind in silent]
