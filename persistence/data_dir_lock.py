"""One live service for each data directory: a lock the kernel drops with its holder, however that one ends."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from persistence.embedded.errors import DataDirInUse, DataDirUnusable

LOCK_FILE_NAME = "lock"


class DataDirLock:
    """An exclusive lock on an existing directory, held from `acquire` to `release` or to the end of this process."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE_NAME
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, or keep it if this object has it; never waits.

        Raises DataDirInUse if another service holds it, DataDirUnusable if the lock file cannot be opened.
        """
        if self.held:
            return
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise self._in_use(holder) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        # The file stays: removing it would let a waiter lock a file that the next service no longer sees.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise DataDirUnusable(
                f"The lock file cannot be opened: {error.strerror}",
                where=self._path,
                advice="Run as the user that made the data directory, or choose another one.",
            ) from error

    def _in_use(self, holder: str) -> DataDirInUse:
        return DataDirInUse(
            f"The data directory is in use by the service with process id {holder}",
            where=self._path.parent,
            advice="Stop that service, or give this one a data directory of its own.",
        )
