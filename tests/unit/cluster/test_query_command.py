"""What the command asks for, and how it shows a result."""

from __future__ import annotations

import io

import pytest
from click.testing import CliRunner
from rich.console import Console

from cluster.commands.query import query
from cluster.result_table import ROWS_MAX, show_result


def shown(document: str) -> list[str]:
    text = io.StringIO()
    show_result(Console(file=text, width=60, highlight=False), document.encode())
    return text.getvalue().splitlines()


def test_a_result_is_shown_with_every_digit() -> None:
    assert shown(
        '{"columns": [{"name": "id", "type": "VARCHAR"}, {"name": "total", "type": "DECIMAL(38,2)"}],'
        ' "rows": [["[A]", 12345678901234567890.10], [null, 2.00]]}'
    ) == [
        "┏━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━┓",
        "┃ id   ┃                   total ┃",
        "┡━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━┩",
        "│ [A]  │ 12345678901234567890.10 │",
        "│ NULL │                    2.00 │",
        "└──────┴─────────────────────────┘",
        "2 rows",
    ]


def test_of_a_long_result_the_beginning_is_shown_and_that_there_is_more() -> None:
    rows = ",".join(f"[{number}]" for number in range(ROWS_MAX + 1))
    *_, last = shown('{"columns": [{"name": "n", "type": "BIGINT"}], "rows": [' + rows + "]}")
    assert last == "1,001 rows, 1,000 of them shown: --format csv, or --out, gives all"


def test_nested_values_are_shown_as_json() -> None:
    table = shown('{"columns": [{"name": "l", "type": "INTEGER[]"}], "rows": [[[1, {"a": true}]]]}')
    assert '│ [1,{"a":true}] │' in table


@pytest.mark.parametrize(
    "arguments", [["--out", "values.xls"], ["--out", "values"], ["--out", "x.csv", "--format", "table"]]
)
def test_a_file_needs_a_format_that_can_be_written(arguments: list[str]) -> None:
    outcome = CliRunner().invoke(query, [*arguments, "select 1"])
    assert outcome.exit_code == 2
    assert ".json, .csv, .parquet, .arrow" in outcome.output
