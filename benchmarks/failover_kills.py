"""A killed shard under load, in a process of its own: the service there is started as an operator does."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.effort import Effort
from benchmarks.results import Line, Section


def measure(effort: Effort) -> Section:
    """As many kills as the effort has. Raises CalledProcessError."""
    section = Section("failover")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kills.json"
        with section.round("kills") as found:
            subprocess.run(
                [sys.executable, "-m", "benchmarks.failover", "--kills", str(effort.kills), "--json", str(path)],
                check=True,
            )
            found["away_s"] = json.loads(path.read_text(encoding="ascii"))
    away_s = section.rounds[0]["away_s"]
    section.lines = [
        Line(shows=6, what="killed shard, p50", figure=statistics.median(away_s), unit="s", most=1.0),
        Line(shows=6, what="killed shard, longest", figure=max(away_s), unit="s"),
    ]
    return section
