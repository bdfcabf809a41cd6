"""A file is there whole or not at all, and what went wrong keeps its name."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from persistence.whole_file import FileNotWritten, whole_file
from tests.support.file_size import files_of_at_most


def test_it_has_its_name_once_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "it"
    with whole_file(path, overwrite=False) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "raised", [ConnectionResetError("reset"), TimeoutError("late"), OSError(errno.EHOSTUNREACH, "no route")]
)
def test_what_the_block_raises_is_not_said_of_the_file(tmp_path: Path, raised: OSError) -> None:
    with pytest.raises(type(raised)) as caught:
        fail_halfway(tmp_path / "it", raised)
    assert caught.value is raised
    assert list(tmp_path.iterdir()) == []


def fail_halfway(path: Path, error: OSError) -> None:
    with whole_file(path, overwrite=False) as file:
        file.write(b"half of it")
        raise error


def test_a_write_that_fails_is_said_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"yesterday's")
    with (
        pytest.raises(FileNotWritten, match=r"it cannot be written: File too large"),
        files_of_at_most(1_000),
        whole_file(path, overwrite=True) as file,
    ):
        file.write(bytes(100_000))
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("it", b"yesterday's")]


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotWritten, match="No such file or directory"),
        whole_file(tmp_path / "none" / "it", overwrite=False),
    ):
        pass
