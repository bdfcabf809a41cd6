"""Who owns a shard, in words that a later owner on the same machine can check."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_log = logging.getLogger(__name__)
_PROC: Final = Path("/proc")
_STATE_FIELD: Final = 0
_STARTED_FIELD: Final = 19
"""Places in /proc/<pid>/stat after the command's name, which may itself hold spaces: state, and start in clock ticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One incarnation of a shard: a process of a host, told from others of that number by when it started."""

    node: str
    host: str
    pid: int
    started: int
    incarnation: str

    @classmethod
    def here(cls, node: str, incarnation: str) -> Self:
        """The owner that this process is."""
        pid = os.getpid()
        return cls(node=node, host=_host(), pid=pid, started=_stat(pid)[1], incarnation=incarnation)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The owner that `text` names; None if it was written by something else."""
        parts = text.split("/")
        if len(parts) != 5 or not (parts[2].isdigit() and parts[3].isdigit()):
            return None
        return cls(node=parts[0], host=parts[1], pid=int(parts[2]), started=int(parts[3]), incarnation=parts[4])

    def __str__(self) -> str:
        return f"{self.node}/{self.host}/{self.pid}/{self.started}/{self.incarnation}"


def is_gone(text: str) -> bool:
    """Whether the process of the owner that `text` names is known to have ended; of another host nothing is known."""
    owner = Owner.parse(text)
    if owner is None:
        return False
    try:
        if owner.host != _host():
            return False
        state, started = _stat(owner.pid)
    except OSError as error:
        # Out of descriptors or memory, say: the process may be as alive as ever.
        _log.warning("whether %s has ended is not known: %s", owner, error)
        return False
    # Of a process that has ended, the entry stays until its parent has asked for its exit code.
    return started != owner.started or state in ("Z", "X")


def _host() -> str:
    """This run of this machine's kernel, and the namespace in which process numbers mean anything."""
    boot_id = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot_id}:{(_PROC / 'self/ns/pid').stat().st_ino}"


def _stat(pid: int) -> tuple[str, int]:
    """State and start of a process; ("X", 0) if there is none of that number. Raises OSError if it cannot be read."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return fields[_STATE_FIELD], int(fields[_STARTED_FIELD])
