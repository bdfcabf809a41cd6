"""Loading a file: read, check everything, then book what is good."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from cluster.loading.booking import Booker
from cluster.loading.checking import Account, Checker
from cluster.loading.chunks import by_portfolio, chunks_of, key_of, opening_key, update_of
from cluster.loading.gateway import LoadGateway
from cluster.loading.lanes import Lane, Step
from cluster.loading.prefetch import one_ahead
from cluster.loading.progress import progress_bar
from cluster.loading.report import LoadReport, Problem, Problems
from cluster.loading.rows import COLUMNS, Item, read_row
from cluster.loading.source import Source, open_source
from cluster.patience import Patience
from portfolio.ids import PortfolioId

_PATIENCE: Final = Patience()


async def load_file(
    gateway: LoadGateway,
    path: Path,
    *,
    all_or_nothing: bool,
    dry_run: bool,
    console: Console,
    patience: Patience = _PATIENCE,
) -> LoadReport:
    """Book the transactions of a CSV or Parquet file, in the order of its rows; what an earlier run has booked is skipped.

    Every row is checked before the first is booked. A portfolio with a bad row is left out; with `all_or_nothing` one bad
    row leaves all out, with `dry_run` nothing is booked in any case. Should somebody else book in a portfolio between the
    check and the booking, so that a row no longer fits, that portfolio ends before it. Raises InvalidRequest if the file cannot be read or has
    the wrong columns, and ShardUnavailable if the service cannot be asked for the present books.
    """
    source = open_source(path, COLUMNS)
    problems = Problems()
    checker = Checker(
        gateway,
        problems,
        digest=source.digest,
        repeated_ids=source.repeated_transaction_ids(),
        float_columns=source.layout.float_columns,
        patience=patience,
        now=datetime.now(UTC),
    )
    with progress_bar(console, "checking", source.layout.row_count) as advance:
        rows_read = await _check(source, checker, problems, advance)
    with progress_bar(console, "booking", rows_read) as advance:
        booker = Booker(gateway, problems, patience=patience, advance=advance)
        began = time.perf_counter()
        if not dry_run and not (all_or_nothing and problems.rows):
            await _book(source, checker.accounts, problems, booker)
        elapsed_s = time.perf_counter() - began
    return booker.report(rows_read=rows_read, elapsed_s=elapsed_s, is_dry_run=dry_run)


async def _check(source: Source, checker: Checker, problems: Problems, advance: Callable[[int], None]) -> int:
    rows_read = 0
    async with aclosing(one_ahead(_read(source))) as blocks:
        async for block in blocks:
            for found in block:
                if not isinstance(found, Item):
                    problems.add_row(found)
            await checker.check(_items(block))
            rows_read += len(block)
            advance(len(block))
    return rows_read


async def _book(source: Source, accounts: Mapping[PortfolioId, Account], problems: Problems, booker: Booker) -> None:
    chunks_seen: Counter[PortfolioId] = Counter()
    async with aclosing(one_ahead(_read(source))) as blocks:
        async for block in blocks:
            # A portfolio can go bad while it is booked, too; then nothing more is booked in it.
            good = [item for item in _items(block) if item.portfolio_id not in problems.portfolios]
            lanes: list[Lane] = []
            for portfolio_id, items in by_portfolio(good).items():
                lane, known = _lane(accounts[portfolio_id], items, chunks_seen, source.digest)
                booker.skip(known)
                lanes.append(lane)
            await booker.book(lanes)
            if booker.gave_up is not None:
                return
            for lane in lanes:
                accounts[lane.portfolio_id].version = lane.version


def _read(source: Source) -> Iterator[list[Item | list[Problem]]]:
    for block in source.blocks():
        yield [read_row(row) for row in block]


def _items(block: Sequence[Item | list[Problem]]) -> list[Item]:
    return [found for found in block if isinstance(found, Item)]


def _lane(account: Account, items: Sequence[Item], chunks_seen: Counter[PortfolioId], digest: str) -> tuple[Lane, int]:
    """What is to be booked of a portfolio's rows in one block, and how many of them are booked already."""
    steps: list[Step] = []
    rows_known = 0
    if account.opening is not None and account.version == 0:
        key = opening_key(digest, account.portfolio_id)
        steps.append(Step(replace(account.opening, idempotency_key=key)))
    for chunk in chunks_of(items):
        number = chunks_seen[account.portfolio_id]
        chunks_seen[account.portfolio_id] += 1
        if number < account.chunks_known:
            rows_known += len(chunk)
        else:
            command = update_of(account.portfolio_id, chunk, key_of(digest, account.portfolio_id, number))
            steps.append(Step(command, [item.line for item in chunk]))
    return Lane(account.portfolio_id, account.version, steps), rows_known
