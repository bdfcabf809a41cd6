"""A Valkey home that we hold, brought to serve: the server already there is adopted, or one is launched."""

import logging
import signal
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import redis

from persistence.data_dir_lock import DataDirLock
from persistence.embedded.binaries import ServerBinaries, reachable_binaries, remove_other_copies, valkey_binaries
from persistence.embedded.errors import ServerStartFailed
from persistence.embedded.home import LOOPBACK, ServerHome, port_is_free
from persistence.embedded.process import Deadline, ServerIdentity, log_tail, start_server, wait_until

logger = logging.getLogger(__name__)

SOCKET_NAME = "valkey.sock"
LOG_NAME = "valkey.log"
CLIENTS_MAX = 1000
EVICTION = "volatile-ttl"
PORT_ATTEMPTS = 5
ANSWER_TIMEOUT_S = 2.0
# Starting takes milliseconds: a server of an earlier run that is silent for this long is replaced.
ADOPTION_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 10.0
# Valkey keeps every line in one file; at this size it is put aside when the server starts.
LOG_BYTES_MAX = 16_000_000


@dataclass(slots=True, kw_only=True)
class HeldValkey:
    """The home of a Valkey, locked for us; `sockets` is None where no directory is short enough for a socket."""

    home: ServerHome
    lock: DataDirLock
    sockets: Path | None
    listen_tcp: bool
    wanted_port: int | None
    maxmemory_bytes: int
    child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def identity(self) -> ServerIdentity:
        """How its process is told from others."""
        return ServerIdentity(program="valkey-server", mark=self.home.mark, uid=self.home.account.uid)

    def pid(self) -> int | None:
        """Its process id, None if it does not run."""
        if self.child is not None and self.child.poll() is not None:
            self.child = None
        return self.child.pid if self.child is not None else next(iter(self.identity.pids()), None)

    def url(self) -> str:
        """Its address for a Redis client, with the password in it."""
        password = quote(self.home.secret("password"))
        if self.sockets is not None:
            return f"unix://:{password}@{quote(str(self.sockets / SOCKET_NAME))}?db=0"
        return f"redis://:{password}@{LOOPBACK}:{self.home.last_port()}/0"

    def serve(self, deadline: Deadline) -> None:
        """Return once it answers. Raises a kind of EmbeddedServerError."""
        if not self._adopt():
            self._launch(deadline)

    def end(self, timeout_s: float) -> None:
        """End it: asked first, killed after `timeout_s`."""
        if (pid := self.pid()) is not None:
            self.identity.send(pid, signal.SIGTERM)
            wait_until(lambda: self.pid() is None, Deadline.after(timeout_s))
        self.identity.end_all(patience_s=0.0)
        self.pid()

    def _adopt(self) -> bool:
        if self.pid() is None:
            return False
        if wait_until(self._answers, Deadline.after(ADOPTION_TIMEOUT_S)) and self._fits():
            return True
        logger.warning("the Valkey of an earlier run is replaced: %s", self.home.path)
        return False

    def _answers(self) -> bool:
        try:
            with closing(redis.Redis.from_url(self.url(), socket_timeout=ANSWER_TIMEOUT_S)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _fits(self) -> bool:
        """Whether it listens where we want it, and has taken our memory limit."""
        try:
            with closing(redis.Redis.from_url(self.url(), socket_timeout=ANSWER_TIMEOUT_S)) as client:
                port = int(client.config_get("port")["port"] or 0)
                client.config_set("maxmemory", self.maxmemory_bytes)
        except redis.RedisError:
            return False
        return (port != 0) == self.listen_tcp and self.wanted_port in (None, port)

    def _launch(self, deadline: Deadline) -> None:
        self.end(STOP_TIMEOUT_S)
        binaries = reachable_binaries(valkey_binaries(), self.home)
        remove_other_copies(binaries, self.home)
        self.home.server_directory("data")
        self._put_full_log_aside()
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            port = self.home.choose_port(self.wanted_port) if self.listen_tcp else 0
            try:
                self._launch_on(port, binaries, deadline)
                return
            except ServerStartFailed:
                self.end(STOP_TIMEOUT_S)
                # Another program may have bound the port since it was chosen.
                if not self.listen_tcp or attempts_left == 0 or port_is_free(port):
                    raise

    def _launch_on(self, port: int, binaries: ServerBinaries, deadline: Deadline) -> None:
        if self.listen_tcp:
            self.home.note_port(port)
        self.child = start_server(
            [binaries.bin / "valkey-server", "-", *self._marked_arguments()],
            account=self.home.account,
            directory=self.home.data,
            output=self._startup_log,
            configuration=self._configuration(port),
        )
        wait_until(lambda: self.pid() is None or self._answers(), deadline)
        if self.pid() is None or not self._answers():
            raise ServerStartFailed(
                "Valkey ended or does not answer",
                where=self.home.path,
                advice="Remove what the log complains of, then start again.",
                log_tail=log_tail(self._startup_log, self.home.log / LOG_NAME),
            )

    def _marked_arguments(self) -> list[str]:
        # The template carries the mark and is never applied: while the server rewrites its title, the command line is
        # empty for a moment, and its process would pass for gone.
        return ["--set-proc-title", "no", "--proc-title-template", f"{{title}} {self.home.mark}"]

    def _configuration(self, port: int) -> str:
        """What it reads on its standard input, so that the password is not in its command line."""
        lines = [
            f"bind {LOOPBACK}",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {self.home.secret('password')}",
            f"maxclients {CLIENTS_MAX}",
            f"maxmemory {self.maxmemory_bytes}",
            f"maxmemory-policy {EVICTION}",
            # A mirror of what Postgres holds: none of it is written to disk.
            'save ""',
            "appendonly no",
            f'logfile "{self.home.log / LOG_NAME}"',
            "loglevel notice",
            "enable-debug-command no",
            "enable-module-command no",
        ]
        if self.sockets is not None:
            lines += [f'unixsocket "{self.sockets / SOCKET_NAME}"', "unixsocketperm 700"]
        return "\n".join(lines) + "\n"

    @property
    def _startup_log(self) -> Path:
        return self.home.path / "startup.log"

    def _put_full_log_aside(self) -> None:
        log = self.home.server_directory("log") / LOG_NAME
        if log.exists() and log.lstat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
