"""`portfolio-state query`: SQL over everything that the cluster holds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from analytics.sql.format import Format
from analytics.sql.limits import Limits
from analytics.sql.messages import Answer, Question
from cluster.attaching import attach
from cluster.commands.calling import run
from cluster.console import console
from cluster.result_table import show_result
from cluster.settings import Settings
from persistence.whole_file import FileNotWritten, require_free, whole_file
from serve_app.finding import any_config
from serve_app.querying import Queries

_TABLE: Final = "table"


@click.command()
@click.argument("sql")
@click.option(
    "--format",
    "named",
    type=click.Choice([_TABLE, *(kind.value for kind in Format)], case_sensitive=False),
    help="Default: table, or with --out what the file's name ends with.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to this file.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def query(sql: str, named: str | None, out: Path | None, *, force: bool) -> None:
    """Run one reading statement of DuckDB's SQL over portfolios, positions, transactions, prices and history.

    docs/sql.md says what these hold. If SQL is -, it is read from standard input. A file is written whole or not at all.
    """
    wanted = _format(named, out)
    if out is not None:
        _or_exit(lambda: require_free(out, overwrite=force))
    answer = run(_answer(sys.stdin.read() if sql == "-" else sql, wanted or Format.JSON))
    if wanted is None:
        show_result(console, answer.body)
    elif out is None:
        sys.stdout.buffer.write(answer.body)
    else:
        _or_exit(lambda: _write(answer.body, out, overwrite=force))
        console.print(f"{answer.row_count:,} rows in {out}", markup=False, soft_wrap=True)


def _format(named: str | None, out: Path | None) -> Format | None:
    """What to ask for; None stands for a table on the console."""
    if out is None:
        return None if named in (None, _TABLE) else Format(named)
    found = named or out.suffix.removeprefix(".").lower()
    if found not in list(Format):
        raise click.UsageError(f"{out}: expected --format, or a name that ends with one of .{', .'.join(Format)}")
    return Format(found)


def _write(body: bytes, out: Path, *, overwrite: bool) -> None:
    with whole_file(out, overwrite=overwrite) as file:
        file.write(body)


def _or_exit(step: Callable[[], None]) -> None:
    """Take a step that concerns the file, or leave in order with what is wrong with it."""
    try:
        step()
    except FileNotWritten as error:
        raise click.ClickException(str(error)) from error


async def _answer(sql: str, wanted: Format) -> Answer:
    await asyncio.to_thread(attach, Settings())
    service = await any_config()
    queries = await asyncio.to_thread(Queries, service.postgres_dsn)
    return await queries.answer(Question(sql, wanted, Limits()))
