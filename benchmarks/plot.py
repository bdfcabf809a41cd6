"""The figures as pictures, for readers: latencies by quantile, and throughput with what was promised.

python -m benchmarks.plot benchmarks/results/latest.json
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_QUANTILES: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
_COLOURS: Final = {"no-op": "#9aa0a6", "state": "#1a6fb5", "peer": "#d08a2e"}


def draw(results: Path) -> list[Path]:
    """The plots, beside `results`; those whose sections are there."""
    sections = {section["name"]: section for section in json.loads(results.read_text(encoding="utf-8"))["sections"]}
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "portfolio-state", "font.size": 9})
    drawn = []
    if "paced reads" in sections:
        drawn.append(_saved(_latency(sections["paced reads"]), results.with_name("latency.svg")))
    lines = [line for section in sections.values() for line in section["lines"] if line["shows"] in (2, 3, 4)]
    if judged := [line for line in lines if line["least"]]:
        drawn.append(_saved(_throughput(judged), results.with_name("throughput.svg")))
    if "scale" in sections:
        drawn.append(_saved(_scale(sections["scale"]), results.with_name("scale.svg")))
    return drawn


def _latency(section: dict[str, Any]) -> Figure:
    """Medians over the rounds, on a log axis; the bars reach from the best round to the worst."""
    figure, axes = _figure()
    for what, colour in _COLOURS.items():
        rounds = [one["read_ms"] for one in section["rounds"] if one["what"] == what]
        spread = [[one[quantile] for one in rounds] for quantile in _QUANTILES]
        middle = [statistics.median(values) for values in spread]
        reach = [
            [each - min(values) for each, values in zip(middle, spread, strict=True)],
            [max(values) - each for each, values in zip(middle, spread, strict=True)],
        ]
        axes.errorbar([*_QUANTILES.values()], middle, yerr=reach, label=what, color=colour, marker="o", capsize=3)
    axes.axhline(10, color="#b3261e", linewidth=1, linestyle="--", label="10 ms")
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.set_title("300 reads/s and 50 updates/s offered over REST")
    axes.legend()
    return figure


def _throughput(lines: list[dict[str, Any]]) -> Figure:
    """Each figure in floors; the tick is what was promised."""
    figure, axes = _figure()
    names = [f"{line['what']}\n/ {line['floor_is']}" for line in lines]
    axes.barh(names, [line["ratio"] for line in lines], color="#1a6fb5", height=0.6)
    for place, line in enumerate(lines):
        axes.plot([line["least"]] * 2, [place - 0.4, place + 0.4], color="#b3261e", linewidth=2)
        axes.annotate(
            f"{line['figure']:,.0f}/s", (line["ratio"], place), (3, 0), textcoords="offset points", va="center"
        )
    axes.invert_yaxis()
    axes.set_xlabel("times the floor; promised: the red tick")
    axes.set_title("Throughput")
    return figure


def _scale(section: dict[str, Any]) -> Figure:
    """Costs a unit, each relative to the smallest size: a straight line would stay at 1."""
    figure, axes = _figure()
    costs: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
        "memory a portfolio": ("load", lambda one: one["kb_per_portfolio"]),
        "update": ("update each", lambda one: 1 / one["per_s"]),
        "checkpoint a portfolio": ("update each", lambda one: one["checkpoint_s"] / one["portfolios"]),
        "publish a portfolio": ("publish", lambda one: 1 / one["per_s"]),
        "recovery a position": ("kill", lambda one: 1 / one["positions_per_s"]),
        "recovery a row": ("journal", lambda one: 1 / one["rows_per_s"]),
    }
    for name, (what, cost) in costs.items():
        rounds = [one for one in section["rounds"] if one["what"] == what]
        values = [cost(one) for one in rounds]
        axes.plot(
            [one["portfolios"] for one in rounds], [value / values[0] for value in values], marker="o", label=name
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("portfolios of 10 positions")
    axes.set_ylabel("cost a unit, in that of the smallest size")
    axes.legend()
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4), layout="constrained")
    return figure, figure.add_subplot()


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    return path


if __name__ == "__main__":
    for made in draw(Path(sys.argv[1])):
        print(made)
