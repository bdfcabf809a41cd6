"""Directories removed beside the tests: unlinking the two thousand files of a data directory takes seconds on some disks."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

_remover = ThreadPoolExecutor(1, "removing")
_under_way: list[Future[None]] = []


def remove_later(top: Path) -> None:
    """Remove a directory that nobody uses any more. It is gone at the end of the run at the latest."""
    _under_way.append(_remover.submit(_remove, top))


def _remove(top: Path) -> None:
    # A process that was ended may have put something there meanwhile.
    shutil.rmtree(top, ignore_errors=True)
    if top.exists():
        shutil.rmtree(top)


def wait_until_removed() -> None:
    """Return once everything is gone. Raises what the first removal that failed raised."""
    while _under_way:
        _under_way.pop(0).result()
