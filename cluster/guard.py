"""Ends this process at once when what it cannot live without has ended."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

RAY_PROGRAMS: Final = ("gcs_server", "raylet")


def children_named(names: Iterable[str]) -> dict[str, int]:
    """The processes that this one started, by the name of their program: one of each that is there."""
    wanted = set(names)
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            # pid (comm) state ppid ...; the name may have spaces and parentheses in it.
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            if name in wanted and int(rest.split()[1]) == os.getpid():
                found[name] = int(entry.name)
    return found


class Guard:
    """Watches descriptors in a thread: when one can be read, or its other end has gone, `act` is called.

    A pidfd can be read once its process has ended. Nothing is asked of anybody, so a process that is merely stopped or
    slow is never taken for a dead one.
    """

    def __init__(self, descriptors: Iterable[int], act: Callable[[int], None]) -> None:
        self._act = act
        self._wake_read, self._wake_write = os.pipe()
        self._poll = select.poll()
        for descriptor in (*descriptors, self._wake_read):
            self._poll.register(descriptor, select.POLLIN)
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def dismiss(self) -> None:
        """Watch no longer."""
        os.write(self._wake_write, b"x")

    def _watch(self) -> None:
        ready = {descriptor for descriptor, _ in self._poll.poll()}
        if self._wake_read not in ready:
            self._act(ready.pop())
