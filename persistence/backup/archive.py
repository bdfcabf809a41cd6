"""The file of a backup: a plain tar of the dump, its manifest, and the manifest's checksum.

The dump comes first and is written once, as it arrives; its header, which tells its size, is filled in afterwards. So
gigabytes are neither kept in memory nor copied, and `tar` and `sha256sum` read the file without this service.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from persistence.backup.errors import BackupDamaged, BackupError
from persistence.backup.manifest import Dump, Manifest, decoded

DUMP: Final = "portfolio.dump"
MANIFEST: Final = "manifest.json"
CHECKSUM: Final = "manifest.json.sha256"

CHUNK_BYTES: Final = 1 << 20
_MANIFEST_BYTES_MAX: Final = 16 << 20
_BLOCK: Final = tarfile.BLOCKSIZE


def write_archive(file: IO[bytes], dump: Iterable[bytes], describe: Callable[[Dump], Manifest]) -> Manifest:
    """Write a backup to an empty file; gives its manifest, which `describe` makes once the dump is known."""
    file.seek(_BLOCK)
    written = _copied(dump, file)
    file.write(_padding(written.size_bytes))
    end = file.tell()
    file.seek(0)
    file.write(_header(DUMP, written.size_bytes))
    file.seek(end)
    manifest = describe(written)
    content = manifest.encoded()
    for name, part in ((MANIFEST, content), (CHECKSUM, _checksum(content))):
        file.write(_header(name, len(part)) + part + _padding(len(part)))
    # Two empty blocks end a tar.
    file.write(bytes(2 * _BLOCK))
    return manifest


def _copied(chunks: Iterable[bytes], file: IO[bytes]) -> Dump:
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        file.write(chunk)
        size_bytes += len(chunk)
    return Dump(sha256=digest.hexdigest(), size_bytes=size_bytes)


def _header(name: str, size_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o600
    # The GNU format writes any size into one block.
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)


def _checksum(content: bytes) -> bytes:
    # As `sha256sum --check` reads it.
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup that was found whole."""

    manifest: Manifest
    _path: Path
    _tar: tarfile.TarFile

    def dump(self) -> Generator[bytes, None, None]:
        """The dump, piece by piece. Raises a kind of BackupError."""
        with _reading(self._path):
            file = _opened(self._tar, DUMP)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The backup in a file, every checksum of which has been checked. Raises a kind of BackupError."""
    with ExitStack() as stack:
        with _reading(path):
            tar = stack.enter_context(tarfile.open(path, "r:"))
            archive = Archive(_manifest(tar), path, tar)
            _require_sound(archive)
        yield archive


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise BackupDamaged(f"{path} is no whole backup: {error}") from error
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from error


def _manifest(tar: tarfile.TarFile) -> Manifest:
    content = _opened(tar, MANIFEST).read(_MANIFEST_BYTES_MAX)
    if _checksum(content) != _opened(tar, CHECKSUM).read(_MANIFEST_BYTES_MAX):
        raise BackupDamaged("the backup's manifest does not match its checksum")
    return decoded(content)


def _opened(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        opened = tar.extractfile(name)
    except KeyError:
        opened = None
    if opened is None:
        raise BackupDamaged(f"the file has no {name}: it is no backup, or a damaged one")
    return opened


def _require_sound(archive: Archive) -> None:
    digest = hashlib.sha256()
    for chunk in archive.dump():
        digest.update(chunk)
    if digest.hexdigest() != archive.manifest.dump.sha256:
        raise BackupDamaged("the backup's dump does not match its checksum")
