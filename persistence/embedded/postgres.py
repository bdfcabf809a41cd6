"""The Postgres that a service starts when it is given none: one server for one data directory, for this machine only.

It outlives a kill of the service and is adopted by the next one; killed itself, it recovers at the next start.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from persistence.data_dir_lock import DataDirLock
from persistence.embedded.account import choose_account
from persistence.embedded.binaries import postgres_binaries, reachable_binaries
from persistence.embedded.errors import EmbeddedServerError, os_errors_translated
from persistence.embedded.home import ServerHome, open_home
from persistence.embedded.postgres_launch import HeldPostgres, noted_address
from persistence.embedded.postgres_session import DATABASE
from persistence.embedded.postmaster import Postmaster
from persistence.embedded.process import Deadline
from persistence.embedded.server import EmbeddedServer

logger = logging.getLogger(__name__)

HOME = "postgres"


def has_data(data_dir: Path) -> bool:
    """Whether an embedded Postgres has ever been made in a data directory."""
    return (data_dir / HOME / "data").exists()


def running_address(data_dir: Path) -> str:
    """The `dsn` of the Postgres that a running service has in its data directory; it is only looked at.

    Raises a kind of EmbeddedServerError if it does not run, or belongs to another user.
    """
    path = data_dir.resolve() / HOME
    with os_errors_translated("Postgres", path):
        home = ServerHome(path=path, account=choose_account(None, data=path / "data"))
        note = Postmaster(home=home, progress=logger.info).note()
    if note is None:
        raise EmbeddedServerError("Postgres is not running", where=path, advice="Try again once the service is up.")
    return noted_address(DATABASE, note, home=home)


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres in `data_dir/postgres`, with role and database `portfolio`, reached by `dsn` once `start` returned.

    It listens on a Unix socket in a 0700 directory; on 127.0.0.1 as well if `listen_tcp`, or if `port` is given, or
    if no directory is short enough for a socket. Started as root it runs as `account` (if None: whoever owns the
    data, else postgres or nobody). No argument can relax durability. `progress` is told what a start is doing.
    Linux only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        listen_tcp: bool = False,
        port: int | None = None,
        account: str | None = None,
        progress: Callable[[str], None] = logger.info,
    ) -> None:
        self._data_dir = data_dir
        self._wants_tcp = listen_tcp or port is not None
        self._wanted_port = port
        self._account = account
        self._progress = progress
        self._held: HeldPostgres | None = None

    @property
    def dsn(self) -> str:
        """A libpq address of the database, over the socket if there is one, else over TCP.

        It names the file that holds the password rather than the password, so it may be shown and logged.
        Raises EmbeddedServerError if the server is not running.
        """
        return self._holding().address(DATABASE)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None if it does not run: then `start` starts it again."""
        return self._held.postmaster.pid() if self._held is not None else None

    @property
    def bin_dir(self) -> Path:
        """Where psql, pg_dump, pg_basebackup, pg_amcheck and the other tools of this server are."""
        return reachable_binaries(postgres_binaries(), self._holding().home).bin

    def start(self, timeout_s: float = 600.0) -> None:
        """Return once the database answers; if it does already, nothing changes.

        Crash recovery may need most of `timeout_s`. Raises a kind of EmbeddedServerError and leaves no process.
        """
        deadline = Deadline.after(timeout_s)
        try:
            with os_errors_translated("Postgres", self._data_dir):
                self._held = self._held or self._take_data_dir()
                self._held.serve(deadline)
        except BaseException:
            with suppress(EmbeddedServerError):
                self.stop()
            raise

    def stop(self, timeout_s: float = 60.0) -> None:
        """End the server and let go of the data directory; nothing happens if it was not started.

        Clients are disconnected, nothing committed is lost. A fast shutdown has `timeout_s` for its checkpoint, then
        comes an immediate one, which the next start recovers from; processes that remain are killed.
        """
        held, self._held = self._held, None
        if held is not None:
            try:
                held.postmaster.end(timeout_s)
                held.home.remove_socket_directory()
            finally:
                held.lock.release()

    def _take_data_dir(self) -> HeldPostgres:
        home = open_home(self._data_dir, HOME, account=self._account)
        lock = DataDirLock(home.path)
        lock.acquire()
        try:
            sockets = home.socket_directory()
        except BaseException:
            lock.release()
            raise
        return HeldPostgres(
            home=home,
            lock=lock,
            postmaster=Postmaster(home=home, progress=self._progress),
            sockets=sockets,
            listen_tcp=self._wants_tcp or sockets is None,
            wanted_port=self._wanted_port,
        )

    def _holding(self) -> HeldPostgres:
        if self._held is None:
            raise EmbeddedServerError("Postgres is not started", where=self._data_dir, advice="Call start() first.")
        return self._held
