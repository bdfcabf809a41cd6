"""The named statements: each is used, has a reason, and every name used exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import persistence
from persistence.statements import SQL

ROOT = Path(persistence.__file__).parents[1]
STATEMENTS_FILE = ROOT / "persistence" / "statements.sql"
SOURCES = [path for top in ("persistence", "actors", "serve_app", "cluster") for path in (ROOT / top).rglob("*.py")]
_USE = re.compile(r'SQL\["(\w+)"\]|_fetch_(?:all|one)\(\s*"(\w+)"|_rows\(connection, "(\w+)"|_batches\(\s*"(\w+)"')


def _used() -> set[str]:
    return {
        next(filter(None, found.groups()))
        for path in SOURCES
        for found in _USE.finditer(path.read_text(encoding="utf-8"))
    }


def test_every_statement_is_used_and_every_one_used_exists() -> None:
    assert _used() == set(SQL)


@pytest.mark.parametrize("block", STATEMENTS_FILE.read_text(encoding="utf-8").split("-- name: ")[1:])
def test_every_statement_has_a_name_a_reason_and_an_end(block: str) -> None:
    name, reason, *lines = block.strip().splitlines()
    assert re.fullmatch(r"[a-z_]+", name)
    assert re.fullmatch(r"-- [A-Z].{15,}", reason)
    assert lines[-1].endswith(";")
    assert SQL[name].splitlines()[0] == next(line for line in lines if not line.startswith("--")).removesuffix(";")


def test_names_are_unique() -> None:
    names = re.findall(r"^-- name: (\w+)$", STATEMENTS_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) == len(set(names)) == len(SQL)


def test_no_statement_is_put_together_from_values() -> None:
    # The embedded server is set up with names of our own, which cannot be bound.
    for path in (path for path in SOURCES if path.parent.name != "embedded"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\.execute\(\s*f[\"']", text), path
        assert not re.search(r"\.execute\([^)]*\.format\(", text), path


def test_an_append_never_swallows_a_conflict() -> None:
    assert "on conflict" not in SQL["append_journal"].lower()
