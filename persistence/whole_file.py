"""A file that has its name whole and durable, or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from persistence.embedded.home import sync_directory


class FileNotWritten(RuntimeError):
    """A file cannot be written; whatever has its name is as it was."""


class FileRefused(FileNotWritten):
    """Writing it would overwrite something; nothing was touched."""


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A new file of mode 0600 that takes the name `path` once the block has ended well and all is on disk.

    Whoever is killed meanwhile leaves `path` as it was, and beside it a file `.NAME.unfinished-*`.
    Raises FileRefused if `path` exists and is not to be overwritten, FileNotWritten if it cannot be written, also out of the
    block's own writes; whatever else the block raises stays what it is.
    """
    require_free(path, overwrite=overwrite)
    with _told_of(path):
        # Beside it, since only within one file system is a rename one step. Its mode is 0600 from the start.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.unfinished-", dir=path.parent)
    unfinished = Path(name)
    try:
        with io.BufferedWriter(_Raw(descriptor, path)) as file:
            yield file
            file.flush()
            with _told_of(path):
                os.fsync(descriptor)
        # Again, because somebody may have come first meanwhile.
        require_free(path, overwrite=overwrite)
        with _told_of(path):
            unfinished.replace(path)
            sync_directory(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def require_free(path: Path, *, overwrite: bool) -> None:
    """Raises FileRefused if a whole file would not be given this name, for who would rather know before the work."""
    if path.is_dir():
        raise FileRefused(f"{path} is a directory: name a file")
    if path.exists() and not overwrite:
        raise FileRefused(f"{path} exists already: --force overwrites it")


class _Raw(io.FileIO):
    """A file whose writes fail with FileNotWritten: an OSError from elsewhere, a lost connection say, is told from them."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: Any) -> int:
        with _told_of(self._path):
            return super().write(data)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileNotWritten(f"{path} cannot be written: {error.strerror or error}") from error
