"""What a verification came to: counts, the share of portfolios that agree everywhere, and the differences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.verifying.findings import Findings

_WHOLE: Final = 1_000_000
"""100 percent, in units of the fourth decimal."""


@dataclass(slots=True)
class Counts:
    """How much was read and compared. Portfolios unless named otherwise."""

    shards: int = 0
    rows: int = 0
    portfolios: int = 0
    checkpoint: int = 0
    checkpoint_positions: int = 0
    memory: int = 0
    memory_positions: int = 0
    documents: int = 0
    mirror: int = 0
    mirror_expired: int = 0


@dataclass(slots=True)
class Report:
    """The outcome. `left_out` says what was not compared on purpose, and why; `failed`, what could not be."""

    counts: Counts = field(default_factory=Counts)
    findings: Findings = field(default_factory=Findings)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    is_deep: bool = False
    elapsed_s: float = 0.0

    @property
    def exit_status(self) -> int:
        """0 if nothing differs, 1 if something does, 2 if nothing was found and not everything could be compared."""
        if self.findings.count:
            return 1
        return 2 if self.failed else 0

    @property
    def consistency(self) -> str:
        """Portfolios without any difference, in percent, rounded down; 100 is said only if nothing differs at all."""
        share = _WHOLE
        if self.counts.portfolios:
            agreeing = self.counts.portfolios - len(self.findings.portfolios)
            share = agreeing * _WHOLE // self.counts.portfolios
        if self.findings.count:
            share = min(share, _WHOLE - 1)
        return f"{share // 10_000}.{share % 10_000:04}"

    @property
    def rows_per_s(self) -> float:
        """Journal rows verified in a second, on average, all comparisons included."""
        return self.counts.rows / self.elapsed_s if self.elapsed_s else 0.0


def as_json(report: Report) -> str:
    """The report for machines, on one line."""
    content: dict[str, Any] = {
        "consistency_percent": report.consistency,
        "exit_status": report.exit_status,
        "deep": report.is_deep,
        "counts": asdict(report.counts),
        "elapsed_s": round(report.elapsed_s, 3),
        "rows_per_s": round(report.rows_per_s),
        "not_compared": report.left_out,
        "failed": report.failed,
        "difference_count": report.findings.count,
        "differences_by_kind": {str(kind): count for kind, count in sorted(report.findings.by_kind.items())},
        "differences": [asdict(difference) for difference in report.findings.kept],
    }
    return json.dumps(content)


def show(report: Report, console: Console) -> None:
    """Write the differences, then the counts, then the verdict."""
    # As Text: what is stored must not be read as markup.
    for difference in report.findings.kept:
        console.print(Text(str(difference)), soft_wrap=True)
    if report.findings.count > len(report.findings.kept):
        console.print(Text(f"and {report.findings.count - len(report.findings.kept):,} more differences"))
    console.print(_table(report))
    for what, why in report.failed.items():
        console.print(Text(f"could not be compared: {what}: {why}"), soft_wrap=True)
    console.print(
        Text(
            f"{report.consistency} % of {report.counts.portfolios:,} portfolios agree; {report.findings.count:,} differences; "
            f"{report.elapsed_s:.1f} s, {report.rows_per_s:,.0f} rows/s"
        )
    )


def _table(report: Report) -> Table:
    counts = report.counts
    table = Table("", "count", show_header=False)
    rows: Mapping[str, str | int] = {
        "shards": counts.shards,
        "journal rows, hashed and replayed": counts.rows,
        "portfolios recomputed": counts.portfolios,
        "checkpoint: portfolios compared": counts.checkpoint,
        "checkpoint: positions compared": counts.checkpoint_positions,
        "memory: portfolios compared": report.left_out.get("memory", counts.memory),
        "memory: positions compared": report.left_out.get("memory", counts.memory_positions),
        "mirror: portfolios compared": report.left_out.get("mirror", counts.mirror),
        "mirror: portfolios expired": report.left_out.get("mirror", counts.mirror_expired),
    }
    for name, count in rows.items():
        table.add_row(name, Text(count) if isinstance(count, str) else f"{count:,}")
    if report.is_deep:
        table.add_row("documents compared with their books", f"{counts.documents:,}")
    for kind, count in sorted(report.findings.by_kind.items()):
        table.add_row(f"differences: {kind}", f"{count:,}")
    return table
