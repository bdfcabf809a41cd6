"""Notices that a directory which is in use was removed, or another put in its place."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from persistence.embedded.errors import DataDirGone


class KeptDirectory:
    """The directory that `path` leads to now, open until the end of the block. Files in it may come and go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def is_in_place(self) -> bool:
        """Whether the path still leads to it. A path that cannot be looked at, for want of memory or rights, counts as well."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return os.path.samestat(os.fstat(self._descriptor), found)

    def check(self) -> None:
        """Raises DataDirGone unless it is in place."""
        if not self.is_in_place():
            raise DataDirGone(
                "The data directory was removed or replaced under a running service",
                where=self._path,
                advice="Once this service has ended, put it back or restore a backup, and start the service again.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
