"""The report of chaos runs: Markdown to read and to quote, JSON to compute with, histories to study."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.chaos.figures import by_kind, totals
from tests.chaos.history import Asked, Call, Read
from tests.chaos.playing import Strike
from tests.chaos.run import Outcome

FINDINGS_SHOWN_MAX: Final = 20
_LABEL: Final = str.maketrans("_", " ")


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of faults, the totals, and what was found."""
    return "\n".join([*_faults(outcomes), "", *_totals(outcomes), "", *_findings(outcomes)]) + "\n"


def _faults(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| fault | count | unavailable p50 | max |"
    yield "|---|---:|---:|---:|"
    for found in by_kind(outcomes):
        missed = f" (+{found.missed} missed)" if found.missed else ""
        yield f"| {found.kind} | {found.count}{missed} | {_seconds(found.away_p50_s)} | {_seconds(found.away_max_s)} |"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _totals(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| total | |"
    yield "|---|---:|"
    for name, figure in totals(outcomes).items():
        if isinstance(figure, dict):
            for part, count in figure.items():
                yield f"| {name.translate(_LABEL)}: {part} | {count:,} |"
        elif isinstance(figure, list):
            yield f"| {name.translate(_LABEL)} | {'; '.join(map(str, figure)) or 'nothing'} |"
        else:
            yield f"| {name.translate(_LABEL)} | {figure:,} |"


def _findings(outcomes: Sequence[Outcome]) -> Iterator[str]:
    if all(outcome.is_clean for outcome in outcomes):
        yield "Nothing was found."
        return
    for outcome in outcomes:
        yield f"Seed {outcome.plan.seed}: {len(outcome.findings)} findings, {len(outcome.told.surprises)} surprises."
        for finding in outcome.findings[:FINDINGS_SHOWN_MAX]:
            yield f"- {finding.breach}: {finding.where}"
            yield from (f"    - {call}" for call in finding.calls)
        for surprise in outcome.told.surprises[:FINDINGS_SHOWN_MAX]:
            yield f"- surprise: {surprise}"


def write_report(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write `path`.md and `path`.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(markdown(outcomes), encoding="utf-8")
    figures = {**totals(outcomes), "by_kind": [asdict(found) for found in by_kind(outcomes)]}
    path.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def keep_history(outcome: Outcome, path: Path) -> None:
    """Write everything that clients noted, and the strikes, as compressed lines of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = outcome.told
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        records: list[Strike | Call | Asked | Read] = [*outcome.strikes, *told.calls, *told.asked.values(), *told.reads]
        for record in records:
            lines.write(json.dumps({"record": type(record).__name__, **asdict(record)}, default=str) + "\n")
        lines.write(json.dumps({"record": "logs", "text": outcome.logs}) + "\n")
