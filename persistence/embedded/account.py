"""Which operating-system user runs an embedded server: ourselves, or another one when we are root."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persistence.embedded.errors import DataDirUnusable

# Postgres refuses to run as root. The first of these that exists runs the servers then.
ACCOUNTS_FOR_ROOT = ("postgres", "nobody")
# Prints the first directory of its arguments that the caller may not pass through.
FIRST_CLOSED_DIRECTORY = 'for d in "$@"; do test -x "$d" || { printf %s "$d"; exit 1; }; done'
REACH_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccount:
    """The user a server runs as; `other` when that is not the user we run as."""

    name: str
    uid: int
    gid: int
    other: bool

    @property
    def switch_user(self) -> int | None:
        """The `user` argument of subprocess."""
        return self.uid if self.other else None

    @property
    def switch_group(self) -> int | None:
        """The `group` argument of subprocess."""
        return self.gid if self.other else None

    @property
    def switch_extra_groups(self) -> Sequence[int] | None:
        """The `extra_groups` argument of subprocess: none of root's groups go along."""
        return [] if self.other else None


def choose_account(requested: str | None, *, data: Path) -> ServerAccount:
    """The account to run as: the one requested, else whoever owns `data` already, else the default for this user.

    Raises DataDirUnusable if no such account exists, if it is root, or if only root could switch to it.
    """
    entry = _requested_entry(requested, data) if requested is not None else _default_entry(data)
    if entry.pw_uid == 0:
        raise _unusable("The servers do not run as root", data, "Name another existing account.")
    if os.geteuid() not in (0, entry.pw_uid):
        raise _unusable(f"Only root can run a server as {entry.pw_name!r}", data, "Start the service as that user.")
    return ServerAccount(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, other=os.geteuid() != entry.pw_uid)


def require_reachable(directory: Path, account: ServerAccount) -> None:
    """Check that `account` may pass through `directory` and all above it.

    Raises DataDirUnusable naming the first directory that is closed to it.
    """
    if not account.other:
        return
    # Asked of the kernel as that user, because mode bits alone leave out access lists and mounts.
    answer = subprocess.run(
        ["/bin/sh", "-c", FIRST_CLOSED_DIRECTORY, "sh", *map(str, reversed(directory.parents)), str(directory)],
        user=account.switch_user,
        group=account.switch_group,
        extra_groups=account.switch_extra_groups,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=REACH_TIMEOUT_S,
        check=False,
    )
    if answer.returncode != 0:
        raise _unusable(
            f"User {account.name!r}, who runs the server, may not pass through {answer.stdout}",
            directory,
            "Choose a data directory it can reach, such as /var/lib/portfolio-state, or chmod o+x the one named.",
        )


def make_directory(path: Path, *, owner: ServerAccount | None, mode: int) -> None:
    """Make a directory with exactly this mode, `owner`'s or ours; one that exists gets both, but is never followed
    through a link.

    Raises DataDirUnusable if it cannot be made or belongs to somebody else.
    """
    try:
        path.mkdir(mode=mode, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if owner is not None and owner.other:
                os.fchown(descriptor, owner.uid, owner.gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
    except OSError as error:
        advice = "Run as the user that made the data directory, or choose another one."
        raise _unusable(f"The directory cannot be prepared: {error.strerror}", path, advice) from error


def _requested_entry(requested: str, data: Path) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(requested)
    except KeyError as error:
        raise _unusable(f"There is no account {requested!r}", data, "Name an existing one.") from error


def _default_entry(data: Path) -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return _entry_of(os.geteuid())
    if data.exists() and data.stat().st_uid != 0:
        # An account installed since the data were made must not lock the service out of them.
        return _entry_of(data.stat().st_uid)
    for name in ACCOUNTS_FOR_ROOT:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise _unusable(f"None of the accounts {', '.join(ACCOUNTS_FOR_ROOT)} exists", data, "Name another one.")


def _entry_of(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        # Containers often run as a bare number.
        return pwd.struct_passwd((str(uid), "", uid, os.getegid() if uid == os.geteuid() else uid, "", "/", "/bin/sh"))


def _unusable(what: str, where: Path, advice: str) -> DataDirUnusable:
    return DataDirUnusable(what, where=where, advice=advice)
