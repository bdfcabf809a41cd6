"""Bounds that the kernel holds on this process, whatever runs in it.

The engine's own bounds leave gaps: `select lpad('x', 2000000000, 'y')` allocates past its memory limit, and
`levenshtein` of long texts hears no interruption. Its makers say that SQL from outside needs a sandbox of the operating
system's; this is one without privileges or other programs.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

_DATA_PAGES: Final = 5
"""The place of data and stack among the numbers of /proc/self/statm, in pages."""
_OOM_SCORE_MAX: Final = "1000"


def be_first_to_go() -> None:
    """Let the kernel end this process before any other if the machine runs out of memory."""
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_MAX, encoding="ascii")


def be_a_session() -> None:
    """Begin a session of this process' own, as polite to others as the process is.

    Some kernels share time among sessions before they share it among the processes of each. What a query takes is then not
    taken from the service's share.
    """
    os.setsid()
    # Not every kernel has it.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(os.nice(0)), encoding="ascii")


def bound_memory(more_bytes: int) -> None:
    """Let this process allocate so much more, for the rest of its life. Memory shared with others does not count."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[_DATA_PAGES])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def end_after(computing_s: float, waiting_s: float) -> None:
    """Have the kernel end this process once it has computed, or existed, for so much longer; 0 takes either back.

    No code of ours has to run for it: the interpreter may be held up in a function that lets nobody else run.
    """
    for number, timer, seconds in (
        (signal.SIGPROF, signal.ITIMER_PROF, computing_s),
        (signal.SIGALRM, signal.ITIMER_REAL, waiting_s),
    ):
        signal.signal(number, signal.SIG_DFL)
        signal.setitimer(timer, seconds)


def open_nothing_more() -> None:
    """No further file, socket or pipe for the rest of this process' life, and no byte more in any file."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
