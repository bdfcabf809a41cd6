"""A small disk of its own for Postgres' data, which can be filled up: a tmpfs, where this user may mount one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FILL_ATTEMPTS: Final = 20
_UNMOUNT_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.25


class Disk:
    """The directory `path`; `can_fill` where it is a disk of its own."""

    def __init__(self, path: Path, size_bytes: int, *, can_fill: bool) -> None:
        self.path = path
        self.can_fill = can_fill
        self._size_bytes = size_bytes

    def fill(self) -> None:
        """Leave no room: the disk shrinks to what is on it, which takes no memory as a large file would."""
        for _ in range(_FILL_ATTEMPTS):
            found = os.statvfs(self.path)
            # What is written in between makes the size too small, which the kernel refuses.
            if self._resize((found.f_blocks - found.f_bfree) * found.f_frsize):
                return
        raise OSError(f"{self.path} grows faster than it can be filled")

    def empty(self) -> None:
        """Give it its room back."""
        if not self._resize(self._size_bytes):
            raise OSError(f"{self.path} does not get its room back")

    def _resize(self, size_bytes: int) -> bool:
        command: list[str | Path] = ["mount", "-o", f"remount,size={size_bytes}", self.path]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def disk(path: Path, size_bytes: int) -> Iterator[Disk]:
    """A disk at `path` for as long as the block; a plain directory where none can be mounted.

    It takes as much memory as is on it, however large it may become.
    """
    path.mkdir(mode=0o711)
    options = f"size={size_bytes},mode=0711"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode != 0:
        yield Disk(path, size_bytes, can_fill=False)
        return
    try:
        yield Disk(path, size_bytes, can_fill=True)
    finally:
        _unmount(path)


def _unmount(path: Path) -> None:
    for _ in range(_UNMOUNT_ATTEMPTS):
        if subprocess.run(["umount", path], capture_output=True, check=False).returncode == 0:
            return
        # A process that was just killed may not have let go of its files yet.
        time.sleep(_PAUSE_S)
    subprocess.run(["umount", "--lazy", path], check=False)
