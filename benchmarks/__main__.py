"""Every figure that is promised, each beside its floor in the same run.

    python -m benchmarks [--quick] [--only paced,reads] [--sizes 1000,10000,100000] [--results DIRECTORY]

Prints every round and a table, and writes latest.json and, where matplotlib is installed, its plots. Nothing else should
run on the machine; the CPU time that others took of it is beside every figure all the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from benchmarks import machine, report
from benchmarks.effort import FULL, QUICK
from benchmarks.results import Section, plain
from benchmarks.suite import NAMES, measured


def main() -> None:
    chosen = _options().parse_args()
    effort = QUICK if chosen.quick else FULL
    if chosen.sizes:
        effort = dataclasses.replace(effort, sizes=chosen.sizes)
    wanted = chosen.only or [name for name in NAMES if not (chosen.quick and name == "scale")]
    told = machine.described()
    print(f"{told['cpu']}, {told['cores']} cores, load average {told['load_average'][0]:.2f}", flush=True)
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / "latest.json"
    sections: list[Section] = []
    for versions, found in measured(wanted, effort):
        told |= versions
        sections += found
        # As far as it has come: half an hour of figures should not be lost to what fails at the end.
        kept = {**told, "sections": [plain(section) for section in sections]}
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(report.table(sections))
    print(_plotted(path))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="three minutes, for a look; scale is left out")
    options.add_argument("--only", type=_names, help=f"some of {','.join(NAMES)}")
    options.add_argument("--sizes", type=_counts, help="portfolios of each step of scale")
    options.add_argument("--results", type=Path, default=Path(__file__).with_name("results"), help="where files go")
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := {*names} - {*NAMES}:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return names


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _plotted(path: Path) -> str:
    """Which files there are. Plots are for readers; the figures do not need them."""
    try:
        from benchmarks import plot  # noqa: PLC0415 - matplotlib may not be there
    except ImportError:
        return f"{path}; no plots, as matplotlib is not installed"
    return ", ".join(map(str, [path, *plot.draw(path)]))


if __name__ == "__main__":
    main()
