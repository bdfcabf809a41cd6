"""Schemas: from nothing, from each one before, twice, and by two services at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from persistence.migrate import migrate, migrations, read_cluster, set_up_cluster
from portfolio.errors import ShardUnavailable
from tests.oracles.builders import buy
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import postgres_shard

NAMES = [step.name for step in migrations()]

SHAPE = """
select table_name, column_name, data_type, is_nullable, numeric_precision, numeric_scale, collation_name, column_default
from information_schema.columns where table_schema = 'public'
union all
select tablename, indexname, indexdef, null, null, null, null, null from pg_indexes where schemaname = 'public'
union all
select conrelid::regclass::text, conname, pg_get_constraintdef(oid), null, null, null, null, null
from pg_constraint where connamespace = 'public'::regnamespace
order by 1, 2, 3
"""


def _shape(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(SHAPE).fetchall()


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(NAMES) + 1))


def test_an_empty_database_gets_every_migration(empty_database: str) -> None:
    assert migrate(empty_database) == NAMES


def test_a_second_run_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    before = _shape(empty_database)
    assert migrate(empty_database) == []
    assert _shape(empty_database) == before


@pytest.mark.parametrize("step", migrations(), ids=lambda step: step.name)
def test_each_migration_applies_to_the_schema_before_it(empty_database: str, database: str, step: object) -> None:
    number = getattr(step, "number")  # noqa: B009 - parameters have no type of their own.
    assert migrate(empty_database, through=number - 1) == NAMES[: number - 1]
    assert migrate(empty_database, through=number) == [NAMES[number - 1]]
    migrate(empty_database)
    assert _shape(empty_database) == _shape(database)


def test_services_that_start_at_once_migrate_once(empty_database: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        applied = list(threads.map(lambda _: migrate(empty_database), range(6)))
    assert sorted(applied, key=len) == [[]] * 5 + [NAMES]


def test_a_migration_that_fails_leaves_nothing_behind(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("create table marks (in_the_way integer)")
        with pytest.raises(ShardUnavailable, match='relation "marks" already exists'):
            migrate(empty_database)
        connection.execute("drop table marks")
    assert migrate(empty_database) == NAMES


def test_the_first_to_come_fixes_the_shard_count(database: str) -> None:
    first = set_up_cluster(database, 3)
    assert set_up_cluster(database, 8) == first == read_cluster(database)
    assert first.shard_count == 3
    assert len(first.link_secret) == 32
    with psycopg.connect(database) as connection:
        assert connection.execute("select shard_id from shards order by 1").fetchall() == [(0,), (1,), (2,)]


def test_services_that_set_up_at_once_agree(database: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        clusters = list(threads.map(lambda number: set_up_cluster(database, number + 1), range(6)))
    assert len(set(clusters)) == 1


def test_a_cluster_that_was_never_set_up_is_not_read(database: str) -> None:
    with pytest.raises(LookupError):
        read_cluster(database)


async def test_a_migration_leaves_what_is_booked_as_it_was(database: str) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1, cash="10"))
        await running.book(updated(1, buy("3", "1.5")))
        before = running.everything()
    await asyncio.to_thread(migrate, database)
    async with postgres_shard(database) as again:
        assert again.everything() == before
        assert again.shard.books.get(portfolio(1)).version == 3


def test_prices_come_to_a_database_that_has_none_and_only_real_ones(empty_database: str) -> None:
    migrate(empty_database, through=2)
    migrate(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        assert connection.execute("select generation from price_generation").fetchall() == [(0,)]
        insert = (
            "insert into instrument_prices (instrument_id, price_date, close, adjusted_close) values ('A', %s, %s, %s)"
        )
        for close, adjusted in (("0", "1"), ("1", "-1"), ("NaN", "1"), ("1", "NaN")):
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(insert, ["2022-01-03", close, adjusted])
        connection.execute(insert, ["2022-01-03", "123456789012.12345678", "0.00000001"])
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(insert, ["2022-01-03", "1", "1"])
