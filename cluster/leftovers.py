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
    ended: set[int] = set()
    deadline = time.monotonic() + _WAIT_S
    # What was being forked while the list was made is found the next time.
    while (found := _working_in(runtime_dir)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended.update(found)
        time.sleep(0.05)
    if ended:
        _log.warning("ended %s processes that were left", len(ended))
    return len(ended)


def _working_in(runtime_dir: Path) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _mentions(pid, os.fsencode(runtime_dir))]


def _mentions(pid: int, needle: bytes) -> bool:
    """Whether the environment that a process of this user was started with names the directory.

    Ray's workers rename themselves, which hides their arguments; their environment still names it. A process that put
    it into its environment itself, for its children, is not found.
    """
    try:
        base = Path("/proc") / str(pid)
        if base.stat().st_uid != os.geteuid():
            return False
        told = (base / "environ").read_bytes()
        return needle + b"/" in told or needle + b"\0" in told
    except OSError:
        return False
