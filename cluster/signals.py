"""Ctrl-C and TERM: one orderly end, which neither another signal nor Ray disturbs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def interrupt_on_term() -> None:
    """Let TERM end the process as Ctrl-C does; once it is stopping, more of either do not disturb that."""

    def interrupt(number: int, _: FrameType | None) -> None:
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Give TERM and Ctrl-C back to whom they belonged before.

    When Ray starts, its core puts a handler for TERM beneath Python's, which aborts the process and leaves all the rest.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
