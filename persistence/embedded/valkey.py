"""The Valkey that a service starts when it is given no Redis: a mirror in memory, for this machine only."""

from contextlib import suppress
from pathlib import Path

from persistence.data_dir_lock import DataDirLock
from persistence.embedded.errors import EmbeddedServerError, os_errors_translated
from persistence.embedded.home import open_home
from persistence.embedded.process import Deadline
from persistence.embedded.server import EmbeddedServer
from persistence.embedded.valkey_launch import STOP_TIMEOUT_S, HeldValkey

MAXMEMORY_BYTES = 1024 * 1024 * 1024


class EmbeddedValkey(EmbeddedServer):
    """A Valkey in `data_dir/valkey`, reached by `url` once `start` returned.

    It saves nothing, and a restart finds it empty: it mirrors what Postgres holds. At `maxmemory_bytes` it evicts
    keys that have a time to live, the soonest to expire first, and then refuses writes. It listens on a Unix socket
    in a 0700 directory; on 127.0.0.1 as well if `listen_tcp`, or if `port` is given, or if no directory is short
    enough for a socket. Started as root it runs as `account`, chosen as for Postgres. Linux only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        listen_tcp: bool = False,
        port: int | None = None,
        account: str | None = None,
        maxmemory_bytes: int = MAXMEMORY_BYTES,
    ) -> None:
        self._data_dir = data_dir
        self._wants_tcp = listen_tcp or port is not None
        self._wanted_port = port
        self._account = account
        self._maxmemory_bytes = maxmemory_bytes
        self._held: HeldValkey | None = None

    @property
    def url(self) -> str:
        """An address for a Redis client, over the socket if there is one; it holds the password, so do not log it.

        Restarts keep it, unless another program has taken the port. Raises EmbeddedServerError if not started.
        """
        if self._held is None:
            raise EmbeddedServerError("Valkey is not started", where=self._data_dir, advice="Call start() first.")
        return self._held.url()

    @property
    def pid(self) -> int | None:
        """The server's process id, None if it does not run: then `start` starts it again."""
        return self._held.pid() if self._held is not None else None

    def start(self, timeout_s: float = 30.0) -> None:
        """Return once it answers; if it does already, nothing changes, and one of an earlier run is used.

        Raises a kind of EmbeddedServerError and leaves no process.
        """
        deadline = Deadline.after(timeout_s)
        try:
            with os_errors_translated("Valkey", self._data_dir):
                self._held = self._held or self._take_data_dir()
                self._held.serve(deadline)
        except BaseException:
            with suppress(EmbeddedServerError):
                self.stop()
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the server and let go of the data directory; nothing happens if it was not started.

        A server that is not gone after `timeout_s` is killed.
        """
        held, self._held = self._held, None
        if held is not None:
            try:
                held.end(timeout_s)
                held.home.remove_socket_directory()
            finally:
                held.lock.release()

    def _take_data_dir(self) -> HeldValkey:
        home = open_home(self._data_dir, "valkey", account=self._account)
        lock = DataDirLock(home.path)
        lock.acquire()
        try:
            sockets = home.socket_directory()
        except BaseException:
            lock.release()
            raise
        return HeldValkey(
            home=home,
            lock=lock,
            sockets=sockets,
            listen_tcp=self._wants_tcp or sockets is None,
            wanted_port=self._wanted_port,
            maxmemory_bytes=self._maxmemory_bytes,
        )
