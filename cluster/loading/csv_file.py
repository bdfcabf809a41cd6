"""CSV files: what Polars does not tell about them (lines, rows with too few or too many fields), and their cells as text.

Polars reads the cells. It gives no line numbers, fills short rows with nulls and stops at long ones, so the standard
library's reader first goes over the file and notes what is special.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from cluster.loading.raw_row import RawRow
from portfolio.errors import InvalidRequest

SPECIAL_ROWS_MAX: Final = 100_000


@dataclass(slots=True)
class CsvLayout:
    """A CSV file with a header, in UTF-8, its fields separated by commas. Implements source.Layout."""

    path: Path
    columns: Sequence[str]
    header_line: int
    row_count: int = 0
    float_columns: frozenset[str] = frozenset()
    misshapen: dict[int, int] = field(default_factory=dict)
    """How many fields a row has, where that is neither the header's number nor none at all."""
    stretches: list[tuple[int, int]] = field(default_factory=list)
    """After each row with line breaks in its fields: the row that follows, and how many lines all such rows added."""

    def note(self, field_count: int, last_line: int) -> None:
        """Count one more row, which ends on `last_line`, and note what is special about it."""
        index = self.row_count
        if field_count not in (len(self.columns), 0):
            self.misshapen[index] = field_count
        if last_line != self._line(index):
            self.stretches.append((index + 1, last_line - self.header_line - 1 - index))
        if len(self.misshapen) + len(self.stretches) > SPECIAL_ROWS_MAX:
            raise InvalidRequest(
                f"{self.path}: more than {SPECIAL_ROWS_MAX:,} rows have another number of fields than the header, or "
                "line breaks in them"
            )
        self.row_count += 1

    def scan(self) -> pl.LazyFrame:
        """All rows as text: a number never becomes a float."""
        return pl.scan_csv(self.path, infer_schema=False, glob=False, truncate_ragged_lines=True)

    def raw_row(self, index: int, texts: Sequence[str | None]) -> RawRow | None:
        """The row `index`, from 0; None if it is blank."""
        field_count = self.misshapen.get(index)
        found = zip(self.columns, texts, strict=True)
        cells = {name: trimmed for name, text in found if text and (trimmed := text.strip())}
        if field_count is not None:
            return RawRow(self._line(index), cells, f"the row has {field_count} fields, the header {len(self.columns)}")
        return RawRow(self._line(index), cells) if cells else None

    def _line(self, index: int) -> int:
        if not self.stretches:
            return self.header_line + 1 + index
        place = bisect_right(self.stretches, index, key=lambda stretch: stretch[0])
        return self.header_line + 1 + index + (self.stretches[place - 1][1] if place else 0)


def inspect(path: Path, *, columns_max: int) -> CsvLayout:
    """What there is to know about the CSV file at `path`. Raises InvalidRequest or UnicodeError."""
    with path.open(encoding="utf-8-sig", newline="") as content:
        reader = csv.reader(content, strict=True)
        try:
            header = next((row for row in reader if row), None)
            if header is None:
                raise InvalidRequest(f"{path} is empty, expected a header")
            if len(header) > columns_max:
                raise InvalidRequest(f"{path} has {len(header)} columns, expected at most {columns_max}")
            layout = CsvLayout(path, header, reader.line_num)
            for row in reader:
                layout.note(len(row), reader.line_num)
        except csv.Error as error:
            raise InvalidRequest(f"{path}, line {reader.line_num}: {error}") from error
    return layout
