"""What is wrong with one portfolio's journal rows, shown to whoever has to mend them. Nothing here changes a row."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.rebuilding import Rebuilding
from persistence import inspection, postgres
from persistence.inspection import InspectedRow, Quarantined
from portfolio.errors import Corrupt
from portfolio.ids import PortfolioId
from portfolio.ports import DamagedRow

ROWS_AROUND: Final = 5
"""Rows shown before and after the first one that fails."""
_HASH_BYTES_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row, and what is wrong with it, if anything."""

    row: InspectedRow
    problem: str | None


@dataclass(frozen=True, slots=True)
class Examination:
    """What a portfolio's rows come to: `problem` is None if they give a sound book, else `rows` are where it is."""

    portfolio_id: PortfolioId
    quarantined: Quarantined | None
    version: int
    rows_count: int
    problem: str | None
    rows: tuple[ShownRow, ...]


async def examine(dsn: str, portfolio_id: PortfolioId) -> Examination:
    """Make the book from its rows, beside the service that runs. Raises ShardUnavailable if Postgres does not answer."""
    async with postgres.pool(dsn, size_max=2) as connections:
        quarantined = await inspection.quarantined(connections, portfolio_id)
        return await _examined(portfolio_id, quarantined, inspection.inspected(connections, portfolio_id))


async def _examined(
    portfolio_id: PortfolioId, quarantined: Quarantined | None, rows: AsyncIterator[InspectedRow]
) -> Examination:
    rebuilding = Rebuilding(portfolio_id)
    shown: deque[ShownRow] = deque(maxlen=2 * ROWS_AROUND + 1)
    problem: str | None = None
    version = count = failed_at = 0
    async for row in rows:
        count, version = count + 1, row.version
        if problem is None:
            problem = _entered(rebuilding, row)
            failed_at = count
            shown.append(ShownRow(row, problem))
        elif count <= failed_at + ROWS_AROUND:
            shown.append(ShownRow(row, row.examined.reason if isinstance(row.examined, DamagedRow) else None))
    if problem is None and count:
        problem = _finished(rebuilding)
    return Examination(portfolio_id, quarantined, version, count, problem, tuple(shown) if problem else ())


def _entered(rebuilding: Rebuilding, row: InspectedRow) -> str | None:
    try:
        rebuilding.enter(row.examined)
    except Corrupt as error:
        return error.detail
    return None


def _finished(rebuilding: Rebuilding) -> str | None:
    try:
        rebuilding.rebuilt()
    except Corrupt as error:
        return error.detail
    return None


def show(found: Examination, console: Console) -> None:
    """Print why the portfolio is in quarantine, and its rows around the first that fails."""
    name = found.portfolio_id
    if found.quarantined is not None:
        since = found.quarantined.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        console.print(Text(f"{name} is in quarantine since {since}: {found.quarantined.reason}"))
    if found.problem is None:
        console.print(Text(f"{name}: its {found.rows_count:,} journal rows are sound, up to version {found.version:,}"))
        if found.quarantined is not None:
            console.print(Text(f"portfolio-state repair {name} --retry puts it back into service"))
        return
    console.print(Text(f"{name}: its journal rows are not sound: {found.problem}"))
    if found.quarantined is None:
        console.print(Text("it is not in quarantine: its shard has not had to read these rows since they changed"))
    console.print(_table(found))


def _table(found: Examination) -> Table:
    table = Table(title=f"{len(found.rows)} of {found.rows_count:,} rows")
    for heading in ("shard", "seq", "version", "kind", "instrument"):
        table.add_column(heading)
    for heading in ("quantity", "price", "value", "fee"):
        table.add_column(heading, justify="right")
    for heading in ("stored hash", "computed", "what is wrong"):
        table.add_column(heading, overflow="fold")
    for shown in found.rows:
        cells = [*_cells(shown.row), shown.problem or ""]
        table.add_row(*map(Text, cells), style="red" if shown.problem else None)
    return table


def _cells(row: InspectedRow) -> list[str]:
    amounts = (row.quantity, row.price, row.value, row.fee)
    return [
        *(str(number) for number in (row.shard_id, row.seq, row.version)),
        row.transaction_type or row.kind,
        row.instrument_id or "",
        *("" if amount is None else f"{amount:f}" for amount in amounts),
        *(_hex(found) for found in (row.stored_hash, row.computed_hash)),
    ]


def _hex(found: bytes | None) -> str:
    return "" if found is None else found[:_HASH_BYTES_SHOWN].hex()
