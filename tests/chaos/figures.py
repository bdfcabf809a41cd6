"""The figures of chaos runs: by fault, and in all."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.absences import absence, acknowledgements
from tests.chaos.breaches import Breach
from tests.chaos.history import Answer
from tests.chaos.kinds import Kind
from tests.chaos.run import SHARDS, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFigures:
    """What one kind of fault did. `away`: seconds without an acknowledgement from some shard; see `absences.absence`."""

    kind: Kind
    count: int
    missed: int
    away_p50_s: float | None
    away_max_s: float | None


def by_kind(outcomes: Iterable[Outcome]) -> list[KindFigures]:
    """Figures of every kind that was played, in the order of `Kind`."""
    away: dict[Kind, list[float]] = defaultdict(list)
    struck: Counter[Kind] = Counter()
    missed: Counter[Kind] = Counter()
    for outcome in outcomes:
        moments = acknowledgements(outcome.told.acknowledged_at, SHARDS).values()
        for strike in outcome.strikes:
            (missed if strike.missed else struck)[strike.kind] += 1
            away_s = absence(moments, strike.at, strike.healed)
            if away_s is not None and not strike.missed:
                away[strike.kind].append(away_s)
    return [
        KindFigures(
            kind=kind,
            count=struck[kind],
            missed=missed[kind],
            away_p50_s=statistics.median(away[kind]) if away[kind] else None,
            away_max_s=max(away[kind], default=None),
        )
        for kind in Kind
        if kind in struck or kind in missed
    ]


def totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything but the faults: load, answers, findings, machine."""
    told = [outcome.told for outcome in outcomes]
    answers = Counter(asked.answer for one in told for asked in one.asked.values())
    breaches = Counter(finding.breach for outcome in outcomes for finding in outcome.findings)
    codes = Counter(f"{call.status} {call.code}".strip() for one in told for call in one.calls)
    return {
        "seeds": [outcome.plan.seed for outcome in outcomes],
        "duration_s": round(sum(outcome.took_s for outcome in outcomes), 1),
        "faults": sum(not strike.missed for outcome in outcomes for strike in outcome.strikes),
        "calls": sum(len(one.calls) for one in told),
        **{f"updates_{answer.value}": answers[answer] for answer in Answer},
        "reads": sum(len(one.reads) for one in told),
        "answers_naming_their_owner": sum(bool(read.owners) for one in told for read in one.reads),
        "attempts_repeated": sum(one.counts["retries"] for one in told),
        "replayed_answers": sum(one.counts["replayed answers"] for one in told),
        "marks_acknowledged": sum(one.counts["acknowledged marks"] for one in told),
        "journal_rows": sum(outcome.journal_rows for outcome in outcomes),
        "cpu_steal": round(max((outcome.steal for outcome in outcomes), default=0.0), 3),
        "calls_by_answer": dict(sorted(codes.items())),
        "findings": {breach.value: breaches[breach] for breach in Breach},
        "surprises": sum(len(one.surprises) for one in told),
        "left_out": sorted({reason for outcome in outcomes for reason in outcome.left_out}),
    }
