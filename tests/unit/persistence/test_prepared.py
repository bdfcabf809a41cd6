"""However the server answers a prepared statement, or fails to, it is a count of rows or an error of the driver's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from persistence import postgres
from persistence.prepared import PreparedStatement
from tests.support.scripted_postgres import ScriptedPostgres, refusal, scripted_postgres


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedPostgres]:
    """A server that does as the test says."""
    async with scripted_postgres(tmp_path) as made:
        yield made


@pytest.fixture
async def statement(server: ScriptedPostgres) -> AsyncIterator[PreparedStatement]:
    """A statement that is prepared there."""
    connection = await postgres.connect(server.dsn)
    yield await PreparedStatement.prepare(connection, "insertion", "insert into log values (%(b)s, %(a)s, %(b)s)")
    await connection.close()


async def test_it_gives_the_number_of_rows(statement: PreparedStatement) -> None:
    assert await statement.run({"a": 1, "b": "two"}) == 1


async def test_values_are_bound_by_name_each_once(statement: PreparedStatement, server: ScriptedPostgres) -> None:
    await statement.run({"a": 1, "b": "two"})
    prepared, run = server.requests[-2:]
    assert b"insertion\0insert into log values ($1, $2, $1)\0" in prepared
    assert b"\0\0\0\x03two\0\0\0\x011" in run


@pytest.mark.parametrize(
    ("last_words", "error"),
    [
        (refusal("ERROR", "23505") + refusal("FATAL", "57P01"), psycopg.errors.UniqueViolation),
        (refusal("FATAL", "57P01"), psycopg.errors.AdminShutdown),
        (b"", psycopg.OperationalError),
    ],
    ids=["refused, then ended", "ended", "without a word"],
)
async def test_a_server_that_leaves_is_an_error_and_its_first_word_counts(
    statement: PreparedStatement, server: ScriptedPostgres, last_words: bytes, error: type[psycopg.Error]
) -> None:
    server.last_words = last_words
    with pytest.raises(error):
        await statement.run({"a": 1, "b": 2})
    assert statement.connection.closed


async def test_without_any_answer_the_connection_counts_as_lost(
    statement: PreparedStatement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what was done then, and the journal finds out for an append whose connection is lost."""

    async def wait(_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(statement.connection, "wait", wait)
    with pytest.raises(psycopg.OperationalError):
        await statement.run({"a": 1, "b": 2})
    assert statement.connection.closed
