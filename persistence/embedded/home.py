"""Where one embedded server lives under the data directory, what is private there, and the secret it is opened with."""

import hashlib
import logging
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from persistence.embedded.account import ServerAccount, choose_account, make_directory, require_reachable
from persistence.embedded.errors import DataDirUnusable, PortTaken

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
# sun_path has 108 bytes and ends in a zero byte.
SOCKET_PATH_BYTES_MAX = 107
LONGEST_SOCKET_NAME = "/.s.PGSQL.65535.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHome:
    """`data_dir/<server>`: ours, with directories of the server's own inside; nobody else may list any of them.

    When the server runs as another user, that user may pass through ours and write in its own alone.
    """

    path: Path
    account: ServerAccount

    @property
    def mark(self) -> str:
        """A word that tells this home's processes from those of every other home on this machine."""
        return "portfolio-" + hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    @property
    def data(self) -> Path:
        """The server's working directory."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """The directory of the server's log files."""
        return self.path / "log"

    def server_directory(self, name: str) -> Path:
        """A directory of the server's own, mode 0700, made if need be."""
        make_directory(self.path / name, owner=self.account, mode=0o700)
        return self.path / name

    def socket_directory(self) -> Path | None:
        """A 0700 directory short enough to hold a Unix socket, or None where there is none.

        In the home if its path is short enough, else in the runtime directory of the user that starts the server.
        """
        for directory in (self.path / "run", *_runtime_directories(self.mark)):
            if len(os.fsencode(directory)) + len(LONGEST_SOCKET_NAME) <= SOCKET_PATH_BYTES_MAX:
                make_directory(directory, owner=self.account, mode=0o700)
                return directory
        logger.warning("no directory for a Unix socket is short enough: %s listens on loopback TCP", self.path)
        return None

    def remove_socket_directory(self) -> None:
        """Remove the socket directory if it is outside the home and empty."""
        for directory in _runtime_directories(self.mark):
            with suppress(OSError):
                directory.rmdir()

    def secret(self, name: str, template: str = "{}") -> str:
        """The content of our 0600 file `name`, which is `template` with 32 random bytes; written once."""
        path = self.path / name
        if not path.exists():
            write_durably(path, template.format(secrets.token_urlsafe(32)).encode() + b"\n")
        return path.read_text().strip()

    def choose_port(self, requested: int | None) -> int:
        """The loopback port requested, else the one used last if it is free, else a free one.

        Raises PortTaken if the one requested is not free.
        """
        if requested is not None:
            if not port_is_free(requested):
                raise PortTaken(
                    f"Port {requested} of {LOOPBACK} belongs to another program",
                    where=self.path,
                    advice="Stop that program or ask for another port; without one a free port is chosen.",
                )
            return requested
        last = self.last_port()
        return last if last is not None and port_is_free(last) else _free_port()

    def last_port(self) -> int | None:
        """The port noted by `note_port`, so that an address handed out before a restart stays good."""
        try:
            return int((self.path / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def note_port(self, port: int) -> None:
        """Keep `port` for `last_port`."""
        write_durably(self.path / "port", f"{port}\n".encode())


def open_home(data_dir: Path, server: str, *, account: str | None) -> ServerHome:
    """The home of `server` under `data_dir`, both made if need be.

    Raises DataDirUnusable if the account that runs the server cannot reach it, or does not own its data.
    """
    path = data_dir.resolve() / server
    home = ServerHome(path=path, account=choose_account(account, data=path / "data"))
    mode = 0o711 if home.account.other else 0o700
    if not path.parent.exists():
        # Parents take the umask; only what is ours gets our modes.
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        make_directory(path.parent, owner=None, mode=mode)
    require_reachable(path.parent, home.account)
    make_directory(path, owner=None, mode=mode)
    _require_owned(home)
    return home


def write_durably(path: Path, content: bytes) -> None:
    """Write a 0600 file that holds either what it held before or `content`, whatever happens meanwhile."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames inside `directory` survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def port_is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port; connections still closing do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _runtime_directories(mark: str) -> list[Path]:
    # Both belong to one user alone, so that nobody else can be there first with a directory of the same name.
    runtime = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR")
    return [Path(runtime) / mark] if runtime and Path(runtime).is_dir() else []


def _require_owned(home: ServerHome) -> None:
    if home.data.exists() and (owner := home.data.stat().st_uid) != home.account.uid:
        raise DataDirUnusable(
            f"The data belong to user id {owner}, not to {home.account.name!r}",
            where=home.data,
            advice="Run the server as the account that owns them.",
        )
