"""The directory of one running service: sockets and scratch files that mean nothing once it has stopped."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path


class RuntimeDir:
    """A 0700 directory, one for each user and data directory.

    Its path is short: HAProxy takes 97 bytes for a socket's path, and Serve puts a folder of 56 characters in between.
    """

    def __init__(self, data_dir: Path) -> None:
        owner = f"{os.geteuid()}:{data_dir.resolve()}"
        base = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())  # noqa: S108
        self.path = base / f"pss-{hashlib.sha256(owner.encode()).hexdigest()[:10]}"

    @property
    def links(self) -> Path:
        """Where shards put their sockets."""
        return self.path / "links"

    @property
    def haproxy(self) -> Path:
        """Where Serve keeps HAProxy's configuration and sockets."""
        return self.path / "ha"

    @property
    def ray(self) -> Path:
        """Ray's session directory."""
        return self.path / "ray"

    def create(self) -> None:
        """Make it, if it is not there. Raises PermissionError if somebody else has made it."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{self.path} is not ours: it has to be removed first")
        for part in (self.links, self.haproxy, self.ray):
            part.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Take it away, if it is there and ours."""
        if self.path.exists() and self.path.lstat().st_uid == os.geteuid():
            shutil.rmtree(self.path, ignore_errors=True)
