"""The clock of the shards' processes jumps where the control file says so, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.clock import sitecustomize
from tests.chaos.clock.sitecustomize import CONTROL_VARIABLE, MODULES

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
WALL_CLOCK = re.compile(r"datetime\.(now|utcnow|today)\(|time\.time(_ns)?\(")
HOURS_OFF = """
from datetime import UTC, datetime
from actors import {module}
print(round(({module}.datetime.now(UTC) - datetime.now(UTC)).total_seconds() / 3600),
      isinstance(datetime.now(UTC), {module}.datetime))
"""


def told_by(environment: dict[str, str], module: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", HOURS_OFF.format(module=module)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


@pytest.mark.parametrize("seconds", ["7200", "-10800.0"])
def test_the_time_of_day_is_off_by_what_the_file_says(tmp_path: Path, seconds: str) -> None:
    control = tmp_path / "clock"
    control.write_text(seconds)
    path = f"{Path(sitecustomize.__file__).parent}:{ROOT}"
    told = told_by({"PYTHONPATH": path, CONTROL_VARIABLE: str(control)}, "writer")
    assert told == f"{round(float(seconds) / 3600)} True"


@pytest.mark.parametrize("content", [None, "", "no number"])
def test_without_a_number_the_clock_is_right(tmp_path: Path, content: str | None) -> None:
    control = tmp_path / "clock"
    if content is not None:
        control.write_text(content)
    path = f"{Path(sitecustomize.__file__).parent}:{ROOT}"
    assert told_by({"PYTHONPATH": path, CONTROL_VARIABLE: str(control)}, "publisher") == "0 True"


def test_without_the_variable_no_module_is_touched(tmp_path: Path) -> None:
    path = f"{Path(sitecustomize.__file__).parent}:{ROOT}"
    assert told_by({"PYTHONPATH": path}, "writer") == "0 True"


def test_every_module_of_a_shard_that_asks_for_the_time_of_day_is_known() -> None:
    sources = [
        *(ROOT / "actors").glob("*.py"),
        *(ROOT / "persistence").glob("*.py"),
        *(ROOT / "portfolio").glob("*.py"),
    ]
    asking = {f"{path.parent.name}.{path.stem}" for path in sources if WALL_CLOCK.search(path.read_text())}
    assert asking == MODULES
