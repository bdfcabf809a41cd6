"""A data directory that we hold, brought to serve: the server already there is adopted, or one is launched."""

import logging
from dataclasses import dataclass
from pathlib import Path

from persistence.data_dir_lock import DataDirLock
from persistence.embedded.binaries import ServerBinaries, postgres_binaries, reachable_binaries, remove_other_copies
from persistence.embedded.errors import EmbeddedServerError, ServerStartFailed
from persistence.embedded.home import LOOPBACK, ServerHome, port_is_free
from persistence.embedded.postgres_files import ROLE, PostmasterNote, end_unfinished_initdb, prepare_data
from persistence.embedded.postgres_session import DATABASE, MAINTENANCE_DATABASE, address, answers, prepare_database
from persistence.embedded.postgres_settings import server_arguments
from persistence.embedded.postmaster import IMMEDIATE_STOP_TIMEOUT_S, Postmaster
from persistence.embedded.process import Deadline

logger = logging.getLogger(__name__)

# Without TCP the port is only part of the socket's name.
SOCKET_PORT = 5432
PORT_ATTEMPTS = 5
PGPASS = "pgpass"


def noted_address(database: str, note: PostmasterNote, *, home: ServerHome) -> str:
    """The libpq address of a database of the running server in `home`, over its socket if it has one."""
    return address(database, host=note.sockets or LOOPBACK, port=note.port, password_file=home.path / PGPASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPostgres:
    """The home of a Postgres, locked for us; `sockets` is None where no directory is short enough for a socket."""

    home: ServerHome
    lock: DataDirLock
    postmaster: Postmaster
    sockets: Path | None
    listen_tcp: bool
    wanted_port: int | None

    def serve(self, deadline: Deadline) -> None:
        """Return once the database answers. Raises a kind of EmbeddedServerError."""
        if not self._adopt(deadline):
            self._launch(deadline)
        prepare_database(self.address(MAINTENANCE_DATABASE), self.address(DATABASE), data=self.home.data)

    def address(self, database: str) -> str:
        """The libpq address of a database of the running server; raises EmbeddedServerError if it does not run."""
        note = self.postmaster.note()
        if note is None:
            raise EmbeddedServerError("Postgres is not running", where=self.home.path, advice="Call start() again.")
        return noted_address(database, note, home=self.home)

    def _answers(self, note: PostmasterNote) -> bool:
        return answers(noted_address(MAINTENANCE_DATABASE, note, home=self.home), password_file=self.home.path / PGPASS)

    def _adopt(self, deadline: Deadline) -> bool:
        """Whether a running server serves us; one that does not listen as we want, or does not answer, does not."""
        if self.postmaster.note() is None:
            return False
        try:
            self.postmaster.await_ready(self._answers, deadline)
        except ServerStartFailed as error:
            logger.warning("a Postgres of an earlier run is replaced: %s", error)
            return False
        note = self.postmaster.note()
        return note is not None and self._fits(note)

    def _fits(self, note: PostmasterNote) -> bool:
        wanted = (str(self.sockets or ""), LOOPBACK if self.listen_tcp else "")
        return (note.sockets, note.listens_on) == wanted and self.wanted_port in (None, note.port)

    def _launch(self, deadline: Deadline) -> None:
        self._end_what_runs()
        self.postmaster.forget_stale_notes(self.sockets)
        binaries = reachable_binaries(postgres_binaries(), self.home)
        remove_other_copies(binaries, self.home)
        # The file is a .pgpass of libpq's: any host, any port, any database.
        password = self.home.secret(PGPASS, f"*:*:*:{ROLE}:{{}}").rsplit(":", 1)[-1]
        prepare_data(self.home, binaries, password=password)
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            port = self.home.choose_port(self.wanted_port) if self.listen_tcp else SOCKET_PORT
            try:
                self._launch_on(port, binaries, deadline)
                return
            except ServerStartFailed:
                # Another program may have bound the port since it was chosen.
                if not self.listen_tcp or attempts_left == 0 or port_is_free(port):
                    raise

    def _end_what_runs(self) -> None:
        if not self.home.data.exists():
            end_unfinished_initdb(self.home)
        self.postmaster.end(IMMEDIATE_STOP_TIMEOUT_S)

    def _launch_on(self, port: int, binaries: ServerBinaries, deadline: Deadline) -> None:
        arguments = server_arguments(self.home, sockets=self.sockets, port=port, listen_tcp=self.listen_tcp)
        self.postmaster.launch([binaries.bin / "postgres", *arguments])
        try:
            self.postmaster.await_ready(self._answers, deadline)
        except ServerStartFailed:
            self.postmaster.end(IMMEDIATE_STOP_TIMEOUT_S)
            raise
        if self.listen_tcp:
            self.home.note_port(port)
