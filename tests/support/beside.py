"""Two processes for one run: tests that have a whole service in this one, all others beside them. `make test` loads it.

Services wait more than they compute, so the other tests cost them little time. What these come to is told as if they had run
here, once all is done. However the run ends, the process beside ends its tests in order: whatever they started is stopped.
(pytest-xdist kills its processes ten seconds after Ctrl-C, and with them the fixtures that would stop services.)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import pytest

_OPTION: Final = "--beside-to"
_SERVICES: Final = frozenset({"chaos", "cluster", "e2e"})
"""Markers of tests that have a whole service, or as good as one."""
_ORDERLY: Final = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, type=int, help="for the process beside: the descriptor that its reports go to")


def pytest_configure(config: pytest.Config) -> None:
    descriptor = config.getoption(_OPTION)
    config.pluginmanager.register(_Main() if descriptor is None else _Beside(os.fdopen(descriptor, "w"), config))


def _has_service(item: pytest.Item) -> bool:
    return any(mark.name in _SERVICES for mark in item.iter_markers())


class _Beside:
    """Runs the tests without a service and tells the main process of each."""

    def __init__(self, reports: IO[str], config: pytest.Config) -> None:
        self._reports = reports
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not _has_service(item)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        # A main process that is gone breaks the pipe, which ends this one in order too.
        print(json.dumps(told, default=str), file=self._reports, flush=True)


class _Main:
    """Runs the tests with a service, and reports what the process beside tells; without either kind it runs what there is."""

    def __init__(self) -> None:
        self._count_beside = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        own = [item for item in items if _has_service(item)]
        if own:
            self._count_beside = len(items) - len(own)
            items[:] = own

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        if not self._count_beside or session.config.option.collectonly:
            return (yield)
        session.testscollected += self._count_beside
        with _beside(session.config) as reports:
            result = yield
            for report in reports:
                session.ihook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
                session.ihook.pytest_runtest_logreport(report=report)
            return result


@contextmanager
def _beside(config: pytest.Config) -> Iterator[Iterator[Any]]:
    """The process beside, started; what it tells can be had once. Raises RuntimeError if it does not end in order."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "pytest", *config.invocation_params.args, f"{_OPTION}={writing}"]
    with os.fdopen(reading) as pipe, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=config.invocation_params.dir,
            pass_fds=[writing],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the main process, which passes it on once: a second one would interrupt the stopping of services.
            start_new_session=True,
        )
        os.close(writing)
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(pipe))
        reader.start()
        try:
            yield _told(config, process, reader, lines)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait()
            reader.join()
        if process.returncode not in _ORDERLY:
            output.seek(0)
            raise RuntimeError(f"the tests beside ended with {process.returncode}:\n{output.read().decode()[-10_000:]}")


def _told(
    config: pytest.Config, process: subprocess.Popen[bytes], reader: threading.Thread, lines: list[str]
) -> Iterator[Any]:
    """The reports, once there are all."""
    process.wait()
    reader.join()
    for line in lines:
        yield config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
