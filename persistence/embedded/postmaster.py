"""The postmaster of one data directory: started, waited for, recognised after a restart of ours, and ended."""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from persistence.embedded.errors import ServerStartFailed
from persistence.embedded.home import ServerHome
from persistence.embedded.postgres_files import PostmasterNote, read_note
from persistence.embedded.process import Deadline, ServerIdentity, log_tail, start_server, wait_until

PROGRESS_EVERY_S = 10.0
# A server that calls itself ready and takes no connection for this long is not going to.
ANSWER_TIMEOUT_S = 30.0
IMMEDIATE_STOP_TIMEOUT_S = 10.0
# Backends see the end of their postmaster within moments, unless they are deep in a computation.
ORPHAN_PATIENCE_S = 5.0


@dataclass(slots=True, kw_only=True)
class Postmaster:
    """The server process of `home`, whoever started it; `progress` is told what a long start is doing."""

    home: ServerHome
    progress: Callable[[str], None]
    child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def identity(self) -> ServerIdentity:
        """How its processes are told from others."""
        return ServerIdentity(program="postgres", mark=self.home.mark, uid=self.home.account.uid)

    def note(self) -> PostmasterNote | None:
        """What it says about itself, None if it does not run: a note left by a killed one counts for nothing."""
        self._reap()
        note = read_note(self.home.data)
        return note if note is not None and self.identity.owns(note.pid) else None

    def pid(self) -> int | None:
        """Its process id, None if it does not run."""
        if (note := self.note()) is not None:
            return note.pid
        return self.child.pid if self.child is not None else None

    def launch(self, command: Sequence[str | Path]) -> None:
        """Start it and return at once; no process of this home may be left."""
        # Made first, because the server's own log is the place where most reasons for an early end are found.
        self.home.server_directory("log")
        self.child = start_server(
            command, account=self.home.account, directory=self.home.data, output=self._startup_log
        )

    def await_ready(self, answers: Callable[[PostmasterNote], bool], deadline: Deadline) -> None:
        """Return once it says ready and `answers`; crash recovery may take most of the time until `deadline`.

        Raises ServerStartFailed if it ends, is still not ready at the deadline, or says so and does not answer.
        """
        began_s = reported_s = time.monotonic()
        answer_by: Deadline | None = None
        # Its note is read rather than a connection tried, because each refused connection is a line in its log.
        while not self._answers(answers):
            if self.pid() is None:
                raise self._failed("Postgres ended while it was starting")
            answer_by = answer_by or (Deadline.after(ANSWER_TIMEOUT_S) if self._says_ready() else None)
            if deadline.left_s == 0.0 or (answer_by is not None and answer_by.left_s == 0.0):
                raise self._failed(f"Postgres takes no connection after {time.monotonic() - began_s:.0f} s")
            if time.monotonic() - reported_s > PROGRESS_EVERY_S:
                reported_s = time.monotonic()
                self.progress(f"Postgres is starting, {reported_s - began_s:.0f} s so far: {self.last_log_line()}")
            wait_until(lambda: self.pid() is None or self._says_ready(), Deadline.after(min(1.0, deadline.left_s)))

    def end(self, timeout_s: float) -> None:
        """End every process of this home: a fast shutdown within `timeout_s`, then an immediate one, then a kill."""
        for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S)):
            if (pid := self.pid()) is not None:
                self.identity.send(pid, number)
                wait_until(lambda: self.pid() is None, Deadline.after(patience_s))
        # A postmaster still alive has had its time; without one, backends and the log collector follow by themselves.
        self.identity.end_all(patience_s=ORPHAN_PATIENCE_S if self.pid() is None else 0.0)
        self._reap()

    def forget_stale_notes(self, sockets: Path | None) -> None:
        """Remove what a killed server of this home left to keep others out; none of its processes may be running.

        Postgres would take them for a live server's once their process id belongs to another process of its user.
        """
        note = self.home.data / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            pid = int(note.read_text().splitlines()[0])
            # Somebody may have started a postgres by hand on these data; then its own check is to refuse.
            if not ServerIdentity(program="postgres", mark="", uid=self.home.account.uid).owns(pid):
                note.unlink()
        for left in sockets.glob(".s.PGSQL.*") if sockets is not None else ():
            left.unlink(missing_ok=True)

    def last_log_line(self) -> str:
        """The newest line it logged."""
        return self._log_tail().rsplit("\n", 1)[-1]

    @property
    def _startup_log(self) -> Path:
        return self.home.path / "startup.log"

    def _says_ready(self) -> bool:
        note = self.note()
        return note is not None and note.status == "ready"

    def _answers(self, answers: Callable[[PostmasterNote], bool]) -> bool:
        note = self.note()
        return note is not None and note.status == "ready" and answers(note)

    def _reap(self) -> None:
        if self.child is not None and self.child.poll() is not None:
            self.child = None

    def _log_tail(self) -> str:
        newest = sorted(self.home.log.glob("*.log"), key=lambda log: log.stat().st_mtime)[-1:]
        return log_tail(self._startup_log, *newest)

    def _failed(self, what: str) -> ServerStartFailed:
        return ServerStartFailed(
            what,
            where=self.home.path,
            advice="Remove what the log complains of; if it was still recovering, start again with a longer timeout.",
            log_tail=self._log_tail(),
        )
