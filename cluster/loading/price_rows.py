"""One row of a file of prices as a daily price: its form, field by field, and whether the file had that day before."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from datetime import date
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ValidationError

from cluster.loading.columns import Columns
from cluster.loading.parquet_file import FLOATS_NOTE
from cluster.loading.raw_row import RawRow
from cluster.loading.report import Problem
from portfolio.daily_price import DailyPrice, checked
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId
from serve_app.schemas import InstrumentIdText, Number, Wire

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_BITS_PER_MONTH: Final = 32


def _day(value: Any) -> date:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("expected a date like 2025-06-21")
    return date.fromisoformat(value)


class FileRow(Wire):
    """A daily price as a file has it; without an adjusted close, the close is one."""

    instrument_id: InstrumentIdText
    date: Annotated[date, BeforeValidator(_day)]
    close: Number
    adjusted_close: Number | None = None

    def price(self) -> DailyPrice:
        """The price, its limits unchecked."""
        return DailyPrice(
            instrument_id=InstrumentId(self.instrument_id),
            day=self.date,
            close=self.close,
            adjusted_close=self.close if self.adjusted_close is None else self.adjusted_close,
        )


COLUMNS: Final = Columns(
    known=tuple(FileRow.model_fields),
    required=("instrument_id", "date", "close"),
    numbers=frozenset({"close", "adjusted_close"}),
    days=frozenset({"date"}),
)


class PriceReader:
    """Reads the rows of one file. A day of an instrument that a row before had is refused: which of the two is meant?"""

    def __init__(self, *, last_day: date, float_columns: Collection[str]) -> None:
        self._last_day = last_day
        self._float_columns = float_columns
        self._days_seen: dict[tuple[InstrumentId, int], int] = defaultdict(int)
        """A bit for each day of an instrument's year: as pairs in a set, millions of rows would take gigabytes."""

    def read(self, row: RawRow) -> DailyPrice | list[Problem]:
        """The row as a price, or everything that is wrong with it."""
        if row.misshapen is not None:
            return [row.problem(None, row.misshapen)]
        try:
            price = checked(FileRow.model_validate(row.cells).price(), last_day=self._last_day)
            self._check_first(price)
        except ValidationError as error:
            return row.form_problems(error)
        except InvalidRequest as error:
            field = str(error.cause["field"])
            note = f" {FLOATS_NOTE}" if field in self._float_columns else ""
            return [row.problem(field, error.detail + note)]
        return price

    def _check_first(self, price: DailyPrice) -> None:
        year = (price.instrument_id, price.day.year)
        bit = 1 << (price.day.month * _BITS_PER_MONTH + price.day.day)
        if self._days_seen[year] & bit:
            raise InvalidRequest(f"date is {price.day}, which a row before has for {price.instrument_id}", field="date")
        self._days_seen[year] |= bit
