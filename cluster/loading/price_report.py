"""What a load of prices came to."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from cluster.loading.report import Problem, show_problems
from persistence.price_store import RecordedPrices


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceReport:
    """What the rows of a file changed; `recorded` is None where bad rows kept all of them out."""

    rows_read: int
    bad: int
    problems: tuple[Problem, ...]
    problem_count: int
    recorded: RecordedPrices | None


def show_price_report(report: PriceReport, console: Console) -> None:
    """Write the problems, and what is new."""
    show_problems(report.problems, report.problem_count, console)
    console.print(Text(f"{report.rows_read:,} read, {_outcome(report)}"), soft_wrap=True)


def _outcome(report: PriceReport) -> str:
    recorded = report.recorded
    if recorded is None:
        return f"{report.bad:,} bad: nothing is recorded"
    known = report.rows_read - recorded.days_new - recorded.days_corrected
    return (
        f"{recorded.days_new:,} new days of {recorded.instruments_with_new_days:,} instruments, "
        f"{recorded.days_corrected:,} corrected, {known:,} known before"
    )
