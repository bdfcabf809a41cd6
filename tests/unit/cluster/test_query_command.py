"""What the command asks for, and how it shows a result."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from analytics.sql.messages import Answer
from cluster.commands import query as command
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


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object) -> Answer:
        return Answer(b"new", 1)

    monkeypatch.setattr(command, "_answer", answer)


@pytest.mark.usefixtures("answered")
def test_a_file_is_overwritten_only_if_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "found.csv"
    file.write_text("old")
    refused = CliRunner().invoke(query, ["--out", str(file), "select 1"])
    assert (refused.exit_code, file.read_text()) == (1, "old")
    assert "--force overwrites it" in refused.output
    assert CliRunner().invoke(query, ["--out", str(file), "--force", "select 1"]).exit_code == 0
    assert file.read_text() == "new"


@pytest.mark.usefixtures("answered")
def test_a_file_that_cannot_be_written_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(query, ["--out", str(tmp_path / "nowhere" / "found.csv"), "select 1"])
    assert outcome.exit_code == 1
    assert "cannot be written" in outcome.output
