"""`portfolio-state query`: SQL over everything that the cluster holds."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from analytics.sql.format import Format
from analytics.sql.limits import Limits
from analytics.sql.messages import Answer, Question
from cluster import client
from cluster.commands.calling import run
from cluster.console import console
from cluster.result_table import show_result
from cluster.settings import Settings
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
def query(sql: str, named: str | None, out: Path | None) -> None:
    """Run one reading statement of DuckDB's SQL over portfolios, positions, transactions, prices and history.

    docs/sql.md says what these hold. If SQL is -, it is read from standard input.
    """
    wanted = _format(named, out)
    answer = run(_answer(sys.stdin.read() if sql == "-" else sql, wanted or Format.JSON))
    if wanted is None:
        show_result(console, answer.body)
    elif out is None:
        sys.stdout.buffer.write(answer.body)
    else:
        out.write_bytes(answer.body)
        console.print(f"{answer.row_count:,} rows in {out}", markup=False, soft_wrap=True)


def _format(named: str | None, out: Path | None) -> Format | None:
    """What to ask for; None stands for a table on the console."""
    if out is None:
        return None if named in (None, _TABLE) else Format(named)
    found = named or out.suffix.removeprefix(".").lower()
    if found not in list(Format):
        raise click.UsageError(f"{out}: expected --format, or a name that ends with one of .{', .'.join(Format)}")
    return Format(found)


async def _answer(sql: str, wanted: Format) -> Answer:
    await asyncio.to_thread(client.attach, Settings())
    service = await any_config()
    queries = await asyncio.to_thread(Queries, service.postgres_dsn)
    return await queries.answer(Question(sql, wanted, Limits()))
