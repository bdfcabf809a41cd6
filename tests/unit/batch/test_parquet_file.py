"""The file holds every row in order with few row groups, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pyarrow import parquet

from cluster.batch import parquet_file
from cluster.batch.parquet_file import whole_parquet
from persistence.whole_file import FileRefused

SCHEMA = pl.Schema({"portfolio_id": pl.String(), "figure": pl.Float64()})


def _rows(first: int, count: int) -> pl.DataFrame:
    numbers = range(first, first + count)
    return pl.DataFrame({"portfolio_id": [f"P{n}" for n in numbers], "figure": [n / 4 for n in numbers]}, schema=SCHEMA)


def test_small_parts_share_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "GROUP_ROWS", 10)
    path = tmp_path / "risk.parquet"
    with whole_parquet(path, SCHEMA, overwrite=False) as file:
        for first in range(0, 24, 4):
            file.add(_rows(first, 4))
        file.notes["conventions"] = '{"ddof":1}'
    assert pl.read_parquet(path).equals(_rows(0, 24))
    assert pl.read_parquet(path).schema == SCHEMA
    found = parquet.read_metadata(path)
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [12, 12]
    assert found.metadata[b"conventions"] == b'{"ddof":1}'


def test_no_rows_are_a_file_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "risk.parquet"
    with whole_parquet(path, SCHEMA, overwrite=False):
        pass
    assert pl.read_parquet(path).schema == SCHEMA


def _fail_halfway(path: Path) -> None:
    with whole_parquet(path, SCHEMA, overwrite=True) as file:
        file.add(_rows(0, 4))
        raise LookupError


def test_what_fails_halfway_leaves_the_file_of_before_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "risk.parquet"
    path.write_bytes(b"yesterday's")
    with pytest.raises(LookupError):
        _fail_halfway(path)
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("risk.parquet", b"yesterday's")]
    with pytest.raises(FileRefused, match="exists already"), whole_parquet(path, SCHEMA, overwrite=False):
        pass
