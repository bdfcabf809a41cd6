"""What `portfolio-state up` runs: it keeps the servers, and has another process serve. It imports no Ray.

A raylet or GCS that dies takes the process that joined it down, or leaves it deaf. Here neither matters: the servers go
on, what is left of Ray is ended, and the next process starts a Ray of its own.
"""

from __future__ import annotations

import time
from typing import Final

from cluster.child import Child, Ended, ExitCode
from cluster.console import Report
from cluster.hosting import Hosted, hosting, renew_runtime_dir
from cluster.restarts import Restarts
from cluster.runtime_dir import RuntimeDir
from cluster.settings import Settings
from persistence.embedded.errors import DataDirGone

CHILD_STOP_S: Final = 30.0
LATE_MAX: Final = 3
"""Tries of a first start for which the machine was too slow."""
_LOOK_S: Final = 1.0
"""How often it looks whether the data directory is still there."""


class NeverServed(Exception):
    """No serving process could start, and the last one has said why."""


class Supervisor:
    """Serves until it is interrupted, whatever becomes of Ray."""

    def __init__(self, settings: Settings, report: Report, *, sample: bool) -> None:
        self._settings = settings
        self._report = report
        self._sample = sample

    def run(self) -> None:
        """Serve until KeyboardInterrupt, which is raised on once all has stopped.

        Raises NeverServed, and DataDirGone if the data directory goes away.
        """
        with hosting(self._settings, self._report) as hosted:
            self._keep_serving(hosted)

    def _keep_serving(self, hosted: Hosted) -> None:
        restarts = Restarts()
        has_served = False
        late = 0
        while True:
            ended = self._serve_once(hosted, has_served)
            has_served |= ended.has_served
            late += ended.code == ExitCode.RAY_LATE
            if not has_served and (ended.code == ExitCode.FAILED or late == LATE_MAX):
                raise NeverServed
            pause_s = restarts.pause_s(ended.lived_s)
            self._report(f"the serving process {ended.reason}; another is started" + _in(pause_s))
            time.sleep(pause_s)
            hosted.check()

    def _serve_once(self, hosted: Hosted, has_served: bool) -> Ended:
        first = ["--first", *(["--sample"] if self._sample else [])]
        try:
            renew_runtime_dir(hosted.settings)
            with Child([] if has_served else first, self._environment(hosted.settings)) as child:
                return self._outlived(child, hosted)
        except OSError as error:
            # No memory, no space: the servers are here still, and in a while there may be.
            self._report(f"no serving process can be started: {error}")
            return Ended(code=ExitCode.FAILED, has_served=False, lived_s=0.0)

    def _outlived(self, child: Child, hosted: Hosted) -> Ended:
        try:
            while (ended := child.wait(_LOOK_S)) is None:
                hosted.check()
            return ended
        except (KeyboardInterrupt, DataDirGone):
            self._report("stopping")
            child.stop(CHILD_STOP_S)
            raise

    def _environment(self, hosted: Settings) -> dict[str, str]:
        # By this the next run finds it and whatever it started, should both be killed.
        return hosted.environment() | {"PORTFOLIO_RUNTIME_DIR": str(RuntimeDir(hosted.data_dir).path)}


def _in(pause_s: float) -> str:
    return f" in {pause_s:g} s" if pause_s else ""
