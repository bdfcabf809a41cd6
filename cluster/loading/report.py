"""What a load came to, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.text import Text

PROBLEMS_MAX: Final = 1_000
"""Problems that are kept and shown; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a row cannot be booked or recorded. `line` is that of a CSV file (the header is line 1), or the row of a Parquet file.

    `field` is None where the row, or the update it is part of, is wrong as a whole.
    """

    portfolio_id: str | None
    line: int | None
    field: str | None
    reason: str

    def __str__(self) -> str:
        field = None if self.field is not None and self.reason.startswith(self.field) else self.field
        places = [f"line {self.line}" if self.line is not None else None, self.portfolio_id, field]
        return ": ".join([", ".join(place for place in places if place), self.reason])


@dataclass(slots=True)
class Problems:
    """Problems as they are found: the first of them, how many there are, and in how many rows."""

    kept: list[Problem] = field(default_factory=list)
    count: int = 0
    rows: int = 0
    portfolios: set[str] = field(default_factory=set)

    def add_row(self, problems: Sequence[Problem]) -> None:
        """One bad row, with all that is wrong with it."""
        self.rows += 1
        self.count += len(problems)
        self.kept.extend(problems[: PROBLEMS_MAX - len(self.kept)])
        self.portfolios.update(problem.portfolio_id for problem in problems if problem.portfolio_id is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What became of each row: booked now, skipped because an earlier load had booked it, bad, or left out.

    Rows are left out with a bad row of their portfolio, with any bad row (all or nothing), in a dry run, and after the
    service stopped answering (`gave_up` says why). `elapsed_s` is the time spent on booking.
    """

    rows_read: int
    booked: int
    skipped: int
    bad: int
    problems: tuple[Problem, ...]
    problem_count: int
    updates_booked: int
    portfolios_opened: int
    elapsed_s: float
    is_dry_run: bool = False
    gave_up: str | None = None

    @property
    def left_out(self) -> int:
        """Rows that are good, and were not booked all the same."""
        return self.rows_read - self.booked - self.skipped - self.bad

    @property
    def is_complete(self) -> bool:
        """Whether every row is booked; of a dry run, whether every row could be."""
        return not self.problem_count and self.gave_up is None and (self.is_dry_run or not self.left_out)

    @property
    def transactions_per_s(self) -> float:
        """Transactions committed in a second, on average."""
        return self.booked / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def updates_per_s(self) -> float:
        """Updates committed in a second, on average."""
        return self.updates_booked / self.elapsed_s if self.elapsed_s else 0.0


def show_problems(problems: Sequence[Problem], count: int, console: Console) -> None:
    """Write a line for each problem, and how many more there are."""
    # As Text: a reason quotes what the file holds, which must not be read as markup.
    for problem in problems:
        console.print(Text(str(problem)), soft_wrap=True)
    if count > len(problems):
        console.print(Text(f"and {count - len(problems):,} more"))


def show_report(report: LoadReport, console: Console) -> None:
    """Write the problems, the counts and the throughput."""
    show_problems(report.problems, report.problem_count, console)
    console.print(Text(_counts(report)))
    if report.booked:
        console.print(
            Text(
                f"{report.updates_booked:,} updates in {report.elapsed_s:.1f} s: "
                f"{report.updates_per_s:,.0f} updates/s, {report.transactions_per_s:,.0f} transactions/s"
            )
        )
    if report.gave_up is not None:
        console.print(Text(f"gave up: {report.gave_up}; load the same again to continue"))
    elif report.bad and report.booked + report.skipped:
        console.print(
            Text(
                "Part of the file is booked. Correct the rest in a file of its own: a file that was changed is a new "
                "file, and all of its rows are booked."
            )
        )


def _counts(report: LoadReport) -> str:
    counts = [
        f"{report.rows_read:,} read",
        f"{report.booked:,} booked",
        f"{report.skipped:,} booked before",
        f"{report.bad:,} bad",
        f"{report.left_out:,} left out",
    ]
    return ("dry run: " if report.is_dry_run else "") + ", ".join(counts)
