"""Processes that an earlier run of this service left when it was killed: found by the directory they were given."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)
_WAIT_S: Final = 5.0


def end_leftovers(runtime_dir: Path) -> int:
    """End every process of ours that works in `runtime_dir`; gives how many there were.

    An orphan HAProxy would hold the port and answer 503; an orphan shard would hold the shard until it is deposed.
    """
    found = _working_in(runtime_dir)
    for pid in found:
        _log.warning("ending process %s, left by an earlier run", pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _WAIT_S
    while _working_in(runtime_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(found)


def _working_in(runtime_dir: Path) -> list[int]:
    needle = os.fsencode(runtime_dir) + b"/"
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _mentions(pid, needle)]


def _mentions(pid: int, needle: bytes) -> bool:
    """Whether a process of this user was told of the directory by an argument or its environment.

    Ray's workers rename themselves, which hides their arguments; their environment still names the directory. Our own
    process set the variables for its children after it started, so its own does not.
    """
    try:
        base = Path("/proc") / str(pid)
        if base.stat().st_uid != os.geteuid():
            return False
        return needle in (base / "environ").read_bytes()
    except OSError:
        return False
