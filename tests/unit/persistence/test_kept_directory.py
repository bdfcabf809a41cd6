"""A directory in use: whether it is still where it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from persistence.embedded.errors import DataDirGone
from persistence.kept_directory import KeptDirectory


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The directory."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_files_in_it_may_come_and_go(kept: Path) -> None:
    with KeptDirectory(kept) as directory:
        (kept / "lock").touch()
        directory.check()
        (kept / "lock").unlink()
        directory.check()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_one_that_goes_away_is_told(kept: Path, is_replaced: bool) -> None:
    with KeptDirectory(kept) as directory:
        kept.rename(kept.with_name("elsewhere"))
        if is_replaced:
            kept.mkdir()
        with pytest.raises(DataDirGone, match=f"removed or replaced.*{kept}"):
            directory.check()
        if is_replaced:
            kept.rmdir()
        kept.with_name("elsewhere").rename(kept)
        directory.check()


def test_it_may_be_reached_by_another_way(kept: Path) -> None:
    way = kept.with_name("way")
    way.symlink_to(kept)
    with KeptDirectory(way) as directory:
        directory.check()
        way.unlink()
        assert not directory.is_in_place()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT])
def test_one_that_cannot_be_looked_at_is_not_gone(kept: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object, **__: object) -> os.stat_result:
        raise OSError(number, os.strerror(number))

    with KeptDirectory(kept) as directory:
        monkeypatch.setattr(Path, "stat", fail)
        directory.check()
