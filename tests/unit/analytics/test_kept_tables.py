"""When tables are made anew, and what is left of those that are not needed any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import polars as pl
import pytest

from analytics.sql.kept_tables import KeptTables
from analytics.sql.tables import Table

ROWS = pl.DataFrame({"n": [1, 2]})
NO_FRAME = cast(pl.DataFrame, None)


def open_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Maker:
    """Makes the frames given, and counts how often."""

    def __init__(self, frames: Mapping[Table, pl.DataFrame]) -> None:
        self.frames = frames
        self.made = 0

    async def __call__(self) -> Mapping[Table, pl.DataFrame]:
        self.made += 1
        return self.frames


async def test_the_same_source_is_read_once_and_another_replaces_it() -> None:
    kept, maker = KeptTables(), Maker({Table.PRICES: ROWS})
    first = await kept.made_of(1, maker)
    assert await kept.made_of(1, maker) == first
    assert maker.made == 1
    open_before = open_count()
    await kept.made_of(2, maker)
    assert maker.made == 2
    assert open_count() == open_before


async def test_of_tables_that_cannot_be_shared_nothing_is_left() -> None:
    kept = KeptTables()
    open_before = open_count()
    with pytest.raises(AttributeError, match="height"):
        await kept.made_of(1, Maker({Table.PORTFOLIOS: ROWS, Table.POSITIONS: NO_FRAME}))
    assert open_count() == open_before
    assert await kept.made_of(1, Maker({Table.PORTFOLIOS: ROWS}))
