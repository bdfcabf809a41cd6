"""Loading a file of daily prices: checked while it is copied, and kept only if every row is good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console

from cluster.loading.price_report import PriceReport
from cluster.loading.price_rows import COLUMNS, PriceReader
from cluster.loading.progress import progress_bar
from cluster.loading.report import Problems
from cluster.loading.source import Source, open_source
from persistence.price_store import RecordedPrices
from portfolio.daily_price import DailyPrice

_AHEAD_MAX: Final = timedelta(days=1)
"""East of Greenwich a day may be over before it is in UTC."""


class PriceStore(Protocol):
    """What a load needs of the store."""

    async def record(self, prices: Iterable[DailyPrice]) -> RecordedPrices:
        """Make all prices durable, or none if reading them raises."""


class _BadRowsError(Exception):
    """Rows are bad: what has been copied is not to stay."""


async def load_prices(store: PriceStore, path: Path, *, console: Console) -> PriceReport:
    """Record the prices of a CSV or Parquet file, all of them or none; what is known already is left as it is.

    Every row is looked at, and every bad one reported. Raises InvalidRequest if the file cannot be read or has the wrong
    columns, ShardUnavailable if Postgres fails.
    """
    source = open_source(path, COLUMNS)
    problems = Problems()
    with progress_bar(console, "loading prices", source.layout.row_count) as advance:
        reading = _Reading(source, problems, advance)
        recorded: RecordedPrices | None = None
        try:
            recorded = await store.record(reading.prices())
        except _BadRowsError:
            assert problems.rows
    return PriceReport(
        rows_read=reading.rows_read,
        bad=problems.rows,
        problems=tuple(problems.kept),
        problem_count=problems.count,
        recorded=recorded,
    )


class _Reading:
    """The rows of a file as prices; `rows_read` counts them, and `problems` has what is wrong with them."""

    def __init__(self, source: Source, problems: Problems, advance: Callable[[int], None]) -> None:
        self.rows_read = 0
        self._source = source
        self._problems = problems
        self._advance = advance
        last_day = datetime.now(UTC).date() + _AHEAD_MAX
        self._reader = PriceReader(last_day=last_day, float_columns=source.layout.float_columns)

    def prices(self) -> Iterator[DailyPrice]:
        """The prices of the rows up to the first that is bad; the others are read all the same. Raises _BadRowsError."""
        for block in self._source.blocks():
            for row in block:
                found = self._reader.read(row)
                if not isinstance(found, DailyPrice):
                    self._problems.add_row(found)
                elif not self._problems.rows:
                    yield found
            self.rows_read += len(block)
            self._advance(len(block))
        if self._problems.rows:
            raise _BadRowsError
