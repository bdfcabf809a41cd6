"""Bounds that the kernel holds on this process, whatever runs in it.

The engine's own bounds leave gaps: `select lpad('x', 2000000000, 'y')` allocates past its memory limit, and
`levenshtein` of long texts hears no interruption. Its makers say that SQL from outside needs a sandbox of the operating
system's; this is one without privileges or other programs.
"""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Final

_DATA_PAGES: Final = 5
"""The place of data and stack among the numbers of /proc/self/statm, in pages."""
_OOM_SCORE_MAX: Final = "1000"


def be_first_to_go() -> None:
    """Let the kernel end this process before any other if the machine runs out of memory."""
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_MAX, encoding="ascii")


def bound_memory(more_bytes: int) -> None:
    """Let this process allocate so much more, for the rest of its life. Memory shared with others does not count."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[_DATA_PAGES])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def end_after(seconds: float) -> None:
    """Have the kernel end this process after so long, unless told another time before; 0 takes that back.

    No code of ours has to run for it: the interpreter may be held up in a function that lets nobody else run.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def open_nothing_more() -> None:
    """No further file, socket or pipe for the rest of this process' life, and no byte more in any file."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
