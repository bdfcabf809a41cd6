"""Server processes: started apart from us, recognised again later, and ended without touching anybody else's."""

import logging
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from persistence.embedded.account import ServerAccount
from persistence.embedded.errors import EmbeddedServerError, ServerStartFailed

logger = logging.getLogger(__name__)

# Ours and Ray's variables (PGOPTIONS, LD_PRELOAD, ...) must not reach a server.
SERVER_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
POLL_FIRST_S = 0.01
POLL_LONGEST_S = 0.25
KILL_TIMEOUT_S = 10.0
LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment on the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The moment `seconds` from now."""
        return cls(at_s=time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        """Seconds left, 0 when past."""
        return max(0.0, self.at_s - time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """How the processes of one server are told from all others: program, user, and a mark in their command line.

    The mark is on show for as long as the process lives and needs no privilege to read, which /proc/<pid>/exe and
    cwd do: root in a container often lacks CAP_SYS_PTRACE.
    """

    program: str
    mark: str
    uid: int

    def owns(self, pid: int) -> bool:
        """Whether `pid` is a live process of this server; a zombie is not."""
        try:
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            uid = Path(f"/proc/{pid}").stat().st_uid
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        named = re.search(rf"(^|/){re.escape(self.program)}(:|\s|$)", command_line.split("\0", 1)[0])
        return uid == self.uid and named is not None and self.mark in command_line

    def pids(self) -> list[int]:
        """Every live process of this server, children among them."""
        return [pid for pid in _all_pids() if self.owns(pid)]

    def send(self, pid: int, number: signal.Signals) -> None:
        """Signal `pid` if it is this server's; nothing happens if it has gone."""
        try:
            if self.owns(pid):
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def end_all(self, *, patience_s: float) -> None:
        """Wait `patience_s` for every process of this server to go by itself, then kill what is left.

        Raises EmbeddedServerError if one outlives SIGKILL, as one stuck on a dead disk does.
        """
        if wait_until(lambda: not self.pids(), Deadline.after(patience_s)):
            return
        logger.warning("killing what is left of %s %s: %s", self.program, self.mark, self.pids())
        for pid in self.pids():
            self.send(pid, signal.SIGKILL)
        if not wait_until(lambda: not self.pids(), Deadline.after(KILL_TIMEOUT_S)):
            raise EmbeddedServerError(
                f"{self.program} processes {self.pids()} outlive SIGKILL",
                where=Path("/proc"),
                advice="Look for a disk that does not answer.",
            )


def start_server(
    command: Sequence[str | Path], *, account: ServerAccount, directory: Path, output: Path, configuration: str = ""
) -> subprocess.Popen[bytes]:
    """A server started in `directory`, reading `configuration` on its standard input, writing to `output`.

    It has a session of its own, so that Ctrl-C in the terminal reaches us alone and we stop it in order.
    """
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=SERVER_ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            user=account.switch_user,
            group=account.switch_group,
            extra_groups=account.switch_extra_groups,
        )
    assert child.stdin is not None
    try:
        child.stdin.write(configuration.encode())
        child.stdin.close()
    except BrokenPipeError:
        logger.warning("process %d ended before it read its configuration", child.pid)
    return child


def run_tool(command: Sequence[str | Path], *, account: ServerAccount, directory: Path, timeout_s: float) -> str:
    """What a command of the server's prints; it runs as `account` in `directory`.

    Raises ServerStartFailed if it fails or takes longer than `timeout_s`.
    """
    # A file rather than a pipe: a tool that outlives a kill of ours must not die of its next line of output.
    with tempfile.TemporaryFile() as output:
        try:
            _run(command, account, directory, output, timeout_s)
        except (subprocess.SubprocessError, OSError) as error:
            raise ServerStartFailed(
                f"{Path(command[0]).name} failed: {error}",
                where=directory,
                advice="Free space or repair what it names, then start again.",
                log_tail=_text(output)[-LOG_TAIL_BYTES:],
            ) from error
        return _text(output)


def wait_until(condition: Callable[[], bool], deadline: Deadline) -> bool:
    """Whether `condition` came true before the deadline; it is asked at least once, then ever less often."""
    pause_s = POLL_FIRST_S
    while not condition():
        if deadline.left_s == 0.0:
            return False
        time.sleep(min(pause_s, deadline.left_s))
        pause_s = min(pause_s * 1.5, POLL_LONGEST_S)
    return True


def log_tail(*logs: Path) -> str:
    """The last lines of these logs, one after another; a log that is not there adds nothing."""
    return "\n".join(tail for log in logs if (tail := _tail(log)))


def _run(
    command: Sequence[str | Path], account: ServerAccount, directory: Path, output: IO[bytes], timeout_s: float
) -> None:
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=SERVER_ENVIRONMENT,
        umask=0o077,
        start_new_session=True,
        user=account.switch_user,
        group=account.switch_group,
        extra_groups=account.switch_extra_groups,
        timeout=timeout_s,
        check=True,
    )


def _text(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace").strip()


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as lines:
            lines.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            return lines.read(LOG_TAIL_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
