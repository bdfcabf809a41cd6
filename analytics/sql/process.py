"""Starts a query's process, hands it what it needs, and says what became of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from analytics.sql.cell import GRACE_S
from analytics.sql.engine import out_of_memory, timed_out
from analytics.sql.limits import Limits
from analytics.sql.messages import Answer, Fault, Link, Needs, Question, Told
from analytics.sql.tables import Table
from portfolio.errors import PortfolioError, QueryFailed

_ENVIRONMENT: Final = {
    # No threads that nobody needs, nor a gigabyte of addresses set aside: what is taken counts when it is taken.
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_START_S: Final = 60.0
"""How long a process may take to load the engine, which on a machine that is short of time is long."""
_SLACK_S: Final = 5.0
"""By how much the process' own limit comes first, on such a machine too."""


class QueryProcess:
    """A process that answers one query. It loads the engine from the moment that it is made."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._end = ours
        self._link = Link(ours)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "analytics.sql.cell", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Nothing of our environment, which holds addresses and passwords, but where Python finds its modules.
            env={"PYTHONPATH": os.pathsep.join(sys.path), **_ENVIRONMENT},
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process' number."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can answer. One that waits for long may be ended for want of memory, before anything else is."""
        return self._child.poll() is None

    def end(self) -> None:
        """End the process, whatever it does, and wait until it has gone."""
        self.kill()
        self._child.wait()
        self._end.close()

    def kill(self) -> None:
        """End the process; whoever waits for its answer is told so."""
        self._child.kill()

    def understand(self, question: Question) -> Sequence[Table]:
        """The tables that the query reads. Raises QueryRefused and the like."""
        self._end.settimeout(_START_S)
        self._tell(lambda: self._link.send(question), question.limits)
        told = self._told(question.limits)
        assert isinstance(told, Needs)
        return told.tables

    def answer(self, tables: Mapping[Table, Sequence[int]], limits: Limits) -> Answer:
        """The query's answer, read from descriptors of shared tables: of every table at least one, which may be empty.

        Raises QueryFailed, QueryTimeout or QueryTooLarge.
        """
        self._end.settimeout(limits.waiting_s + GRACE_S + _SLACK_S)
        self._tell(lambda: self._link.send_tables(tables), limits)
        told = self._told(limits)
        assert isinstance(told, Answer)
        return told

    def _tell(self, send: Callable[[], None], limits: Limits) -> None:
        try:
            send()
        except EOFError:
            raise self._why_gone(limits) from None

    def _told(self, limits: Limits) -> Needs | Answer:
        try:
            told: Needs | Answer | Fault = self._link.receive(Told)
        except TimeoutError:
            raise timed_out(limits) from None
        except EOFError:
            raise self._why_gone(limits) from None
        if isinstance(told, Fault):
            raise told.error()
        return told

    def _why_gone(self, limits: Limits) -> PortfolioError:
        """What ended the process, which ends without an answer only by force."""
        code = self._child.wait()
        if code in (-signal.SIGALRM, -signal.SIGPROF):
            return timed_out(limits)
        if code == -signal.SIGKILL:
            # The kernel's way where the machine itself has no memory left.
            return out_of_memory(limits)
        name = signal.Signals(-code).name if code < 0 else f"status {code}"
        return QueryFailed(f"the query's process ended with {name}")
