"""A run in which something was found can be read, computed with and studied afterwards."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.chaos.breaches import Breach, Finding
from tests.chaos.history import Call
from tests.chaos.kinds import Kind
from tests.chaos.playing import Strike
from tests.chaos.report import keep_history, markdown, write_report
from tests.chaos.run import Outcome, Plan
from tests.chaos.test_real_time import READS, UPDATES
from tests.chaos.told import Told

pytestmark = pytest.mark.unit


def outcome(*findings: Finding) -> Outcome:
    told = Told(
        asked={update.key: update for update in UPDATES},
        reads=list(READS),
        calls=[Call("update a", 0.0, 1.0, 200, ""), Call("update b", 2.0, 2.5, 503, "shard-unavailable")],
        acknowledged_at=[(update.answered, update.portfolio_id) for update in UPDATES],
    )
    strikes = [
        Strike(Kind.KILL_SHARD, 0.5, 0.6),
        Strike(Kind.DISK_FULL, 2.0, 3.0),
        Strike(Kind.KILL_GCS, 4.0, 5.0, "gone"),
    ]
    return Outcome(
        plan=Plan(seed=7, duration_s=60.0),
        told=told,
        strikes=strikes,
        findings=list(findings),
        left_out=[],
        journal_rows=6,
        took_s=61.0,
        steal=0.01,
        logs="the end of a log",
    )


FOUND = outcome(Finding(Breach.STALE, "a read is older than c", (READS[0], UPDATES[2])))


def test_a_clean_run_says_so() -> None:
    assert outcome().is_clean
    assert "Nothing was found." in markdown([outcome()])


def test_a_finding_is_shown_with_its_seed_and_the_calls_concerned() -> None:
    shown = markdown([outcome(), FOUND])
    assert not FOUND.is_clean
    assert "Seed 7: 1 findings" in shown
    assert "- stale: a read is older than c" in shown
    assert "key='c'" in shown
    assert "Nothing was found." not in shown


def test_a_surprise_alone_makes_a_run_unclean() -> None:
    surprised = outcome()
    surprised.told.surprise("an answer that should not be")
    assert not surprised.is_clean
    assert "- surprise: an answer that should not be" in markdown([surprised])


def test_figures_add_up_over_seeds(tmp_path: Path) -> None:
    write_report([outcome(), FOUND], tmp_path / "new" / "report")
    figures = json.loads((tmp_path / "new" / "report.json").read_text())
    assert (figures["faults"], figures["updates_acknowledged"], figures["reads"]) == (4, 8, 8)
    assert figures["findings"]["stale"] == 1
    assert figures["calls_by_answer"] == {"200": 2, "503 shard-unavailable": 2}
    missed = [found for found in figures["by_kind"] if found["missed"]]
    assert [(found["kind"], found["count"], found["missed"]) for found in missed] == [(Kind.KILL_GCS, 0, 2)]
    assert (tmp_path / "new" / "report.md").read_text() == markdown([outcome(), FOUND])


def test_a_history_is_kept_line_by_line(tmp_path: Path) -> None:
    keep_history(FOUND, tmp_path / "history.jsonl.gz")
    with gzip.open(tmp_path / "history.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    assert [record["record"] for record in records] == [
        *["Strike"] * 3,
        *["Call"] * 2,
        *["Asked"] * 4,
        *["Read"] * 4,
        "logs",
    ]
    assert records[5]["transactions"][0]["price"] == "10"
    assert records[5]["owners"] == [[0, 1]]
