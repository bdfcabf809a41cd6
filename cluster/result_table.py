"""A query's result as a table on a console."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

ROWS_MAX: Final = 1_000
_NUMBERS: Final = ("DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "BIGINT", "INTEGER", "SMALLINT", "TINYINT")
_CELL_WIDTH: Final = 12


class _Column(msgspec.Struct):
    name: str
    type: str


class _Result(msgspec.Struct):
    columns: list[_Column]
    rows: list[list[Any]]


# Numbers with a point are shown as they came, with all their decimals.
_RESULTS: Final = msgspec.json.Decoder(_Result, float_hook=str)


def show_result(console: Console, document: bytes) -> None:
    """Print the JSON of a result as a table of at most ROWS_MAX rows, and how many there are."""
    result = _RESULTS.decode(document)
    table = Table()
    for column in result.columns:
        # Folded, not cut: a value that is shown is shown whole.
        justify: JustifyMethod = "right" if column.type.startswith(_NUMBERS) else "left"
        table.add_column(
            Text(column.name), justify=justify, overflow="fold", min_width=min(len(column.name), _CELL_WIDTH)
        )
    for row in result.rows[:ROWS_MAX]:
        table.add_row(*map(_shown, row))
    console.print(table)
    more = "" if len(result.rows) <= ROWS_MAX else f", {ROWS_MAX:,} of them shown: --format csv, or --out, gives all"
    console.print(f"{len(result.rows):,} row{'' if len(result.rows) == 1 else 's'}{more}", markup=False, soft_wrap=True)


def _shown(cell: Any) -> Text:
    match cell:
        case None:
            return Text("NULL", style="dim")
        case str():
            return Text(cell)
        case _:
            return Text(msgspec.json.encode(cell).decode())
