"""A run in two processes comes to what it would in one, and each stops what it started however the run ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# More than the waits below may take together.
pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 100.0
TESTS = """
import os, time
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def server():
    yield
    time.sleep(0.2)
    Path(f"stopped-{os.getpid()}").touch()

@pytest.mark.e2e
def test_with_a_service(server):
    Path("with").write_text(str(os.getpid()))

def test_without(server):
    Path("without").write_text(str(os.getpid()))

@pytest.mark.soak
def test_that_is_left_out():
    raise AssertionError

def test_that_may_fail():
    assert not Path("failing").exists(), "as asked for"

@pytest.mark.parametrize("where", [pytest.param("with", marks=pytest.mark.e2e), "without"])
def test_that_may_be_slow(server, where):
    Path(f"waiting-{where}").touch()
    while Path("slow").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text('[pytest]\naddopts = -ra -m "not soak"\nmarkers =\n  e2e: it\n  soak: it\n')
    return tmp_path


def begun(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.support.beside", "-p", "no:cacheprovider"],
        cwd=project,
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Most of the time that such a run takes is the plugins' that happen to be installed.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_one_line_tells_of_both_processes(project: Path) -> None:
    (project / "failing").touch()
    with begun(project) as run:
        said = run.communicate(timeout=_PATIENCE_S)[0]
    assert run.returncode == 1
    assert "FAILED test_it.py::test_that_may_fail - AssertionError: as asked for" in said
    assert re.search(r"=== 1 failed, 4 passed, 1 deselected in [0-9.]+s =+\n$", said), said
    assert "[100%]" in said
    assert (project / "with").read_text() != (project / "without").read_text()
    assert len(list(project.glob("stopped-*"))) == 2


def test_an_interrupted_run_stops_what_both_have_started(project: Path) -> None:
    (project / "slow").touch()
    with begun(project) as run:
        deadline = time.monotonic() + _PATIENCE_S
        while not all((project / f"waiting-{where}").exists() for where in ("with", "without")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=_PATIENCE_S)[0]
    assert run.returncode == pytest.ExitCode.INTERRUPTED, said
    assert len(list(project.glob("stopped-*"))) == 2
