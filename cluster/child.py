"""The serving process as its supervisor has it: a child whose end it sees, and which sees its own."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

_SERVING: Final = b"s"


class ExitCode(IntEnum):
    """What a serving process ends with, besides a signal."""

    FAILED = 1
    """It has said why on the terminal."""
    RAY_LOST = 75
    """Its Ray is gone, and it with it."""
    RAY_LATE = 76
    """The Ray that it started did not come up in the time that Ray gives itself."""


_REASONS: Final[Mapping[int, str]] = {
    ExitCode.RAY_LOST: "lost its Ray",
    ExitCode.RAY_LATE: "waited for its Ray in vain",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a serving process ended. `code` is negative for a signal; `has_served` if it ever came so far."""

    code: int
    has_served: bool
    lived_s: float

    @property
    def reason(self) -> str:
        """For the operator."""
        if self.code < 0:
            return f"was killed by {signal.Signals(-self.code).name}"
        return _REASONS.get(self.code) or f"ended with {self.code}"


class Child:
    """A process in a session of its own, so that Ctrl-C in a terminal reaches its parent alone, which ends it in order.

    Its standard input is one end of a pair of sockets. If the other closes, its parent is gone, however that ended;
    the kernel's parent death signal would come too when the thread ends that started the child.
    """

    def __init__(self, arguments: Iterable[str], environment: Mapping[str, str]) -> None:
        self._began = time.monotonic()
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # Without -P the working directory would come first among those that modules are taken from.
                [sys.executable, "-P", "-m", "cluster", "serve-child", *arguments],
                env={**os.environ, **environment},
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        # To wait with a bound, without looking again and again.
        self._end = os.pidfd_open(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        os.close(self._end)

    def wait(self, timeout_s: float) -> Ended | None:
        """How it ended, once it has; None if it has not within the time."""
        ready, _, _ = select.select([self._end], [], [], timeout_s)
        if not ready:
            return None
        code = self._process.wait()
        return Ended(code=code, has_served=self._has_served(), lived_s=time.monotonic() - self._began)

    def _has_served(self) -> bool:
        # What it started may have its end of the pair still, so there may be no end of file.
        with suppress(BlockingIOError):
            return self._ours.recv(1, socket.MSG_DONTWAIT) == _SERVING
        return False

    def stop(self, timeout_s: float) -> None:
        """End it: asked first, killed after `timeout_s`."""
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def tell_parent_of_serving() -> None:
    """Called in the child: from now on its end is a failure of what was working."""
    # Started by hand, it has no parent that listens.
    with suppress(OSError), socket.socket(fileno=os.dup(sys.stdin.fileno())) as parent:
        parent.send(_SERVING)
