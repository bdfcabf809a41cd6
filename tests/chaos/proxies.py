"""The harness's hold on the proxies: what `proxy_process` is told, and what it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

POSTGRES: Final = "postgres"
REDIS: Final = "redis"
END_TIMEOUT_S: Final = 5.0


class Proxies:
    """One proxy before each server. Every call returns once the proxy has done as told; calls may come from any thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._turn = threading.Lock()
        self.ports: Mapping[str, int] = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the proxies have ended"
        return json.loads(line)

    def _tell(self, **request: object) -> bool:
        with self._turn:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return bool(self._answer())

    def delay(self, proxy: str, seconds: float) -> None:
        """Hold up every answer."""
        self._tell(proxy=proxy, do="delay", seconds=seconds)

    def reset(self, proxy: str, times: int) -> None:
        """Reset every connection, several times in short order."""
        self._tell(proxy=proxy, do="reset", times=times)

    def black_hole(self, proxy: str) -> None:
        """Let nothing pass."""
        self._tell(proxy=proxy, do="black hole")

    def cut_after_commit(self, within_s: float) -> bool:
        """Swallow the answer of the next append, and keep its client away; False if none came in time."""
        return self._tell(proxy=POSTGRES, do="swallow append", seconds=within_s)

    def heal(self, proxy: str) -> None:
        """Pass everything again."""
        self._tell(proxy=proxy, do="heal")


@contextmanager
def proxies(server_ports: Mapping[str, int]) -> Iterator[Proxies]:
    """Proxies for the servers on these ports, by name, for as long as the block."""
    command = [sys.executable, "-m", "tests.chaos.proxy_process", json.dumps(dict(server_ports))]
    # Ctrl-C is for the harness, which needs its proxies until the service has stopped.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Proxies(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
