"""Daily prices in a real Postgres: what a load changes, what a panel reads, and what was known at a moment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from cluster.loading import load_sample_history
from persistence import postgres
from persistence.backup.restore import open_backup, restore_backup
from persistence.backup.take import take_backup
from persistence.price_store import CSV_HEADER, PostgresPriceStore, RecordedPrices
from portfolio.book import Mark
from portfolio.daily_price import DailyPrice
from portfolio.errors import InvalidRequest, ShardUnavailable
from portfolio.ids import InstrumentId
from tests.integration.conftest import Inspector

# Names with every kind of character that an instrument's id may have.
A, B, C = map(InstrumentId, ("A", "B^=/._", "C:c-0"))
MONDAY = date(2022, 1, 3)
ALL_DAYS = (date.min, date.max)


def price(instrument: InstrumentId, day: int, close: str, adjusted: str | None = None) -> DailyPrice:
    """A price of the week's day `day`, 0 being Monday."""
    return DailyPrice(
        instrument_id=instrument,
        day=MONDAY + timedelta(days=day),
        close=Decimal(close),
        adjusted_close=Decimal(adjusted or close),
    )


def changed(days_new: int, instruments: int, days_corrected: int = 0) -> RecordedPrices:
    return RecordedPrices(days_new=days_new, instruments_with_new_days=instruments, days_corrected=days_corrected)


@pytest.fixture
def store(pool: AsyncConnectionPool[Any]) -> PostgresPriceStore:
    return PostgresPriceStore(pool)


async def lines(store: PostgresPriceStore, *names: InstrumentId, first: date = date.min, last: date = date.max) -> str:
    """The prices as text, in order; of all instruments if none is named."""
    header, _, rest = (await store.closes_csv(names or None, first, last)).partition(b"\n")
    assert header + b"\n" == CSV_HEADER
    return " ".join(sorted(rest.decode().splitlines()))


async def test_prices_are_read_as_they_were_recorded(store: PostgresPriceStore) -> None:
    assert await lines(store) == ""
    recorded = await store.record(
        [price(B, 0, "123456789012.12345678"), price(A, 1, "4", "0.00000001"), price(A, 0, "5")]
    )
    assert recorded == changed(3, 2)
    assert await lines(store) == (
        "A,2022-01-03,5.00000000,5.00000000 A,2022-01-04,4.00000000,0.00000001"
        " B^=/._,2022-01-03,123456789012.12345678,123456789012.12345678"
    )


async def test_a_panel_is_of_the_instruments_and_days_asked_for(store: PostgresPriceStore) -> None:
    await store.record([price(name, day, str(day + 1)) for name in (A, B, C) for day in range(5)])
    tuesday, wednesday = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)
    assert await lines(store, C, A, InstrumentId("UNKNOWN"), first=tuesday, last=wednesday) == (
        "A,2022-01-04,2.00000000,2.00000000 A,2022-01-05,3.00000000,3.00000000"
        " C:c-0,2022-01-04,2.00000000,2.00000000 C:c-0,2022-01-05,3.00000000,3.00000000"
    )
    assert await store.closes_csv([], *ALL_DAYS) == CSV_HEADER


async def test_a_second_load_of_the_same_changes_nothing(store: PostgresPriceStore, inspector: Inspector) -> None:
    week = [price(name, day, "1.5") for name in (A, B) for day in range(5)]
    assert await store.record(week) == changed(10, 2)
    generation = await store.generation()
    written = inspector.rows("select instrument_id, price_date, recorded_at, xmin from instrument_prices order by 1, 2")
    assert await store.record(week) == changed(0, 0)
    assert await store.generation() == generation
    assert written == inspector.rows(
        "select instrument_id, price_date, recorded_at, xmin from instrument_prices order by 1, 2"
    )


async def test_a_correction_replaces_a_day_and_what_is_new_is_told_apart(store: PostgresPriceStore) -> None:
    await store.record([price(A, 0, "400"), price(A, 1, "404"), price(B, 0, "1")])
    # A split 4:1 changes what came before it, in one of the two columns.
    assert await store.record([price(A, 0, "400", "100"), price(A, 2, "101"), price(C, 2, "7"), price(B, 0, "1")]) == (
        changed(2, 2, days_corrected=1)
    )
    assert await lines(store, A) == (
        "A,2022-01-03,400.00000000,100.00000000 A,2022-01-04,404.00000000,404.00000000"
        " A,2022-01-05,101.00000000,101.00000000"
    )


async def test_the_generation_grows_with_every_change(store: PostgresPriceStore) -> None:
    seen = [await store.generation()]
    for load in ([price(A, 0, "1")], [price(A, 0, "2")], [price(A, 1, "2")]):
        await store.record(load)
        seen.append(await store.generation())
    assert seen == sorted(set(seen))


async def test_a_generation_does_not_come_again_after_a_restore(
    store: PostgresPriceStore, database: str, empty_database: str, tmp_path: Path, inspector: Inspector
) -> None:
    await store.record([price(A, 0, "1"), price(B, 0, "2")])
    await asyncio.to_thread(take_backup, database, tmp_path / "backup")
    await store.record([price(A, 0, "2")])
    lost = await store.generation()
    with open_backup(tmp_path / "backup") as archive:
        assert archive.manifest.contents.rows["instrument_prices"] == 2
        await asyncio.to_thread(restore_backup, archive, empty_database)
    async with postgres.pool(empty_database, size_max=1) as restored:
        again = PostgresPriceStore(restored)
        assert await lines(again, A) == "A,2022-01-03,1.00000000,1.00000000"
        await again.record([price(A, 0, "3")])
        assert await again.generation() > lost


class BrokenFileError(Exception):
    """The reading of a file goes wrong."""


def broken_off(count: int) -> Iterator[DailyPrice]:
    yield from (price(A, day, "1") for day in range(count))
    raise BrokenFileError


async def test_a_load_that_breaks_off_leaves_nothing(store: PostgresPriceStore) -> None:
    await store.record([price(A, 0, "7")])
    generation = await store.generation()
    with pytest.raises(BrokenFileError):
        await store.record(broken_off(5_000))
    assert await lines(store) == "A,2022-01-03,7.00000000,7.00000000"
    assert await store.generation() == generation
    assert await store.record([price(A, 0, "8")]) == changed(0, 0, days_corrected=1)


async def test_a_day_given_twice_is_refused(store: PostgresPriceStore) -> None:
    with pytest.raises(InvalidRequest, match="a day of an instrument is given twice"):
        await store.record([price(A, 0, "1"), price(B, 0, "1"), price(A, 0, "1")])
    assert await lines(store) == ""


async def test_two_loads_of_the_same_days_at_once_both_succeed(store: PostgresPriceStore) -> None:
    forward = [price(name, day, "1") for name in (A, B) for day in range(300)]
    backward = [price(name, day, "2") for name in (B, A) for day in reversed(range(300))]
    told = await asyncio.gather(*(store.record(load) for load in (forward, backward)))
    assert sorted(one.days_new for one in told) == [0, 600]
    assert sorted(one.days_corrected for one in told) == [0, 600]
    closes = {line.split(b",")[2] for line in (await store.closes_csv(None, *ALL_DAYS)).splitlines()[1:]}
    assert len(closes) == 1


async def test_a_load_waits_longer_than_serving_would(store: PostgresPriceStore, inspector: Inspector) -> None:
    inspector.do("set lock_timeout = '1s'")
    inspector.do("begin")
    inspector.rows("select generation from price_generation for update")
    loading = asyncio.ensure_future(store.record([price(A, 0, "1")]))
    await asyncio.sleep(0.3)
    # It waits for its turn; readers meanwhile do not.
    assert not loading.done()
    assert await lines(store) == ""
    inspector.do("commit")
    assert await loading == changed(1, 1)


def _at(day: int, hour: int = 0, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2022, 1, 3 + day, hour, minute, second, microsecond, UTC)


@pytest.mark.parametrize(
    ("moment", "close"),
    [
        (_at(0, 23, 59, 59, 999_998), None),
        (_at(0, 23, 59, 59, 999_999), "10"),
        (_at(1, 0), "10"),
        (_at(1, 23, 59, 59), "10"),
        (_at(2, 0), "11"),
        (_at(4, 12), "11"),
        (datetime(2022, 1, 4, 1, tzinfo=timezone(timedelta(hours=2))), None),
        (datetime.max.replace(tzinfo=UTC), "11"),
        (datetime.min.replace(tzinfo=UTC), None),
    ],
)
async def test_a_close_counts_from_the_end_of_its_day_on(
    store: PostgresPriceStore, moment: datetime, close: str | None
) -> None:
    await store.record([price(A, 0, "10", "5"), price(A, 1, "11", "5.5")])
    found = await store.closing_marks([A, B], moment)
    assert {name: mark.price for name, mark in found.items()} == ({A: Decimal(close)} if close else {})


async def test_a_closing_mark_is_of_the_last_moment_of_its_day(store: PostgresPriceStore) -> None:
    await store.record([price(A, 0, "10"), price(B, 1, "20"), price(C, 2, "30")])
    assert await store.closing_marks([A, B, C], _at(2, 5)) == {
        A: Mark(Decimal(10), _at(0, 23, 59, 59, 999_999)),
        B: Mark(Decimal(20), _at(1, 23, 59, 59, 999_999)),
    }
    assert await store.closing_marks([], _at(2, 5)) == {}


async def test_a_postgres_that_is_away_is_told_as_such(store: PostgresPriceStore, inspector: Inspector) -> None:
    inspector.do("drop table instrument_prices")
    for doing in (
        store.record([price(A, 0, "1")]),
        store.closes_csv(None, *ALL_DAYS),
        store.closing_marks([A], _at(0)),
    ):
        with pytest.raises(ShardUnavailable):
            await doing


def _command(database: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster", "prices", path],
        env=os.environ | {"PORTFOLIO_POSTGRES_DSN": database},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_records_a_file_once_and_a_bad_one_not_at_all(
    database: str, inspector: Inspector, tmp_path: Path
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("instrument_id,date,close,adjusted_close\nA,2022-01-03,400,100\nB,2022-01-03,7,\n")
    first, second = _command(database, path), _command(database, path)
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.splitlines() == ["2 read, 2 new days of 2 instruments, 0 corrected, 0 known before"]
    assert second.stdout.splitlines() == ["2 read, 0 new days of 0 instruments, 0 corrected, 2 known before"]
    path.write_text("instrument_id,date,close\nA,2022-01-04,401\nB,2022-01-04,0\n")
    bad = _command(database, path)
    assert (bad.returncode, bad.stdout.splitlines()) == (
        1,
        ["line 3: close is 0, expected above 0", "2 read, 1 bad: nothing is recorded"],
    )
    rows = inspector.rows("select instrument_id, close, adjusted_close from instrument_prices order by 1")
    assert rows == [("A", 400, 100), ("B", 7, 7)]


async def test_the_samples_history_is_recorded_once_and_what_was_corrected_since_stays(
    store: PostgresPriceStore, inspector: Inspector
) -> None:
    assert await load_sample_history(store) == changed(21 * 1_257, 21)
    question = "select close from instrument_prices where instrument_id = %s and price_date = %s"
    apple, day = InstrumentId("AAPL"), date(2020, 8, 28)
    assert inspector.one(question, apple, day) == Decimal("491.028")
    corrected = DailyPrice(instrument_id=apple, day=day, close=Decimal("499.23"), adjusted_close=Decimal("122.757"))
    await store.record([corrected])
    generation = await store.generation()
    assert await load_sample_history(store) is None
    assert (inspector.one(question, apple, day), await store.generation()) == (Decimal("499.23"), generation)
