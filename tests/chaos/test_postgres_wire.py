"""Appends are seen in what a client sends, however the bytes are cut."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path

import pytest

from persistence import postgres
from persistence.prepared import PreparedStatement
from persistence.statements import SQL
from tests.support.postgres_wire import APPEND, AppendSpotter
from tests.support.scripted_postgres import message, scripted_postgres

pytestmark = pytest.mark.unit

STARTUP = struct.pack("!II", 8, 80_877_103) + struct.pack("!II", 17, 196_608) + b"user\0me\0\0"
OTHER = b"update shards set epoch = epoch + 1 where shard_id = $1"
TEXT = b"with fence as (update shards ...) " + APPEND + b" select 1"


def parse(name: bytes, text: bytes) -> bytes:
    return message(b"P", name + b"\0" + text + b"\0\0\0")


def bind(name: bytes, rows: int = 1) -> bytes:
    return message(b"B", b"\0" + name + b"\0" + bytes(100 * rows))


SYNC = message(b"S", b"")


def spotted(*parts: bytes) -> list[bool]:
    spotter = AppendSpotter()
    return [spotter.feed(part) for part in parts]


def test_an_unnamed_append_is_seen_when_it_is_bound() -> None:
    assert spotted(STARTUP, parse(b"", TEXT) + bind(b"") + SYNC, SYNC) == [False, True, False]


def test_a_prepared_append_is_seen_by_its_name() -> None:
    sent = (parse(b"_pg3_0", TEXT) + SYNC, bind(b"_pg3_0") + SYNC, bind(b"_pg3_1") + SYNC, bind(b"_pg3_0") + SYNC)
    assert spotted(STARTUP, *sent) == [False, False, True, False, True]


def test_a_name_that_is_given_to_another_statement_stands_for_that() -> None:
    sent = (parse(b"", TEXT) + bind(b""), parse(b"", OTHER) + bind(b""))
    assert spotted(STARTUP, *sent) == [False, True, False]


def test_a_statement_is_known_although_an_append_came_with_it() -> None:
    sent = (parse(b"", TEXT) + bind(b"") + parse(b"s", TEXT), bind(b"s"))
    assert spotted(STARTUP, *sent) == [False, True, True]


@pytest.mark.parametrize("size", [1, 2, 5, 7, 64])
def test_messages_may_be_cut_anywhere(size: int) -> None:
    sent = STARTUP + parse(b"s", TEXT) + SYNC + bind(b"s", rows=9) + SYNC + bind(b"t") + SYNC + bind(b"s")
    pieces = [sent[first : first + size] for first in range(0, len(sent), size)]
    assert sum(spotted(*pieces)) == 2


async def test_the_journals_own_append_is_seen_when_it_is_run(tmp_path: Path) -> None:
    """Not a made-up message: what the driver sends for the statement that the journal runs."""
    async with scripted_postgres(tmp_path) as server, await postgres.connect(server.dsn) as connection:
        append = await PreparedStatement.prepare(connection, "append_journal", SQL["append_journal"])
        preparing = len(server.requests)
        assert [await append.run(defaultdict(str)) for _ in range(2)] == [1, 1]
        assert spotted(*server.requests) == [*[False] * preparing, True, True]


def test_other_protocols_hold_no_appends() -> None:
    assert spotted(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n", b"*1\r\n$4\r\nPING\r\n" * 100) == [False, False]
