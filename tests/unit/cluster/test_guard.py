"""A guard tells the end of a process, and nothing else of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from cluster.guard import Guard, children_named


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_process_that_stops_is_not_one_that_ends() -> None:
    ended, told = threading.Event(), list[int]()
    with sleeper() as child:
        descriptor = os.pidfd_open(child.pid)

        def act(which: int) -> None:
            told.append(which)
            ended.set()

        Guard([descriptor], act)
        child.send_signal(signal.SIGSTOP)
        assert not ended.wait(0.3)
        child.kill()
        # Nobody has waited for it yet: it is a zombie, and ended all the same.
        assert ended.wait(5)
        assert told == [descriptor]
        os.close(descriptor)


def test_a_guard_that_is_dismissed_says_nothing() -> None:
    told = list[int]()
    with sleeper() as child:
        descriptor = os.pidfd_open(child.pid)
        Guard([descriptor], told.append).dismiss()
        time.sleep(0.1)
        child.kill()
        child.wait()
        time.sleep(0.1)
        assert told == []
        os.close(descriptor)


def test_children_are_found_by_the_name_of_their_program() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert children_named(["sleep", "raylet"]) == {"sleep": child.pid}
        child.kill()
