"""Files of daily prices: read exactly, every bad row told, and all of them or none recorded."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cluster.loading import PriceReport, load_prices, show_price_report
from persistence.price_store import RecordedPrices
from portfolio.daily_price import DailyPrice
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId

Row = Mapping[str, object]
A = InstrumentId("A")
MONDAY = date(2022, 1, 3)


class MemoryPriceStore:
    """Prices by instrument and day, changed as the real store changes them."""

    def __init__(self) -> None:
        self.prices: dict[tuple[InstrumentId, date], DailyPrice] = {}

    async def record(self, prices: Iterable[DailyPrice]) -> RecordedPrices:
        incoming = {(price.instrument_id, price.day): price for price in prices}
        new = incoming.keys() - self.prices.keys()
        corrected = [key for key in incoming.keys() & self.prices.keys() if incoming[key] != self.prices[key]]
        self.prices |= incoming
        return RecordedPrices(
            days_new=len(new),
            instruments_with_new_days=len({instrument_id for instrument_id, _ in new}),
            days_corrected=len(corrected),
        )


def row(**cells: object) -> dict[str, object]:
    """A row that is good, but for what `cells` say."""
    return {"instrument_id": "A", "date": "2022-01-03", "close": "5.25", "adjusted_close": "4"} | cells


def csv(folder: Path, rows: Sequence[Row]) -> Path:
    path = folder / "prices.csv"
    columns = list(rows[0])
    lines = [columns, *([str(cells[column]) for column in columns] for cells in rows)]
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def parquet(folder: Path, rows: Sequence[Row], schema: Mapping[str, pl.DataType] | None = None) -> Path:
    path = folder / "prices.parquet"
    pl.DataFrame(rows, schema_overrides=schema, strict=True, infer_schema_length=None).write_parquet(path)
    return path


def quiet() -> Console:
    return Console(file=io.StringIO(), width=60)


async def load(store: MemoryPriceStore, path: Path) -> PriceReport:
    return await load_prices(store, path, console=quiet())


def shown(report: PriceReport) -> list[str]:
    console = quiet()
    show_price_report(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def texts(store: MemoryPriceStore) -> list[str]:
    found = sorted(store.prices.values(), key=lambda price: (price.instrument_id, price.day))
    return [f"{price.instrument_id} {price.day} {price.close:f} {price.adjusted_close:f}" for price in found]


async def test_a_csv_file_is_recorded_to_the_last_digit(tmp_path: Path) -> None:
    store = MemoryPriceStore()
    rows = [
        row(close="123456789012.12345678", adjusted_close="0.00000001"),
        row(date="2022-01-04", close=" 9007199254740.993e-2 ", adjusted_close=""),
        row(instrument_id="B^=/._", close="7"),
    ]
    report = await load(store, csv(tmp_path, rows))
    assert report.recorded == RecordedPrices(days_new=3, instruments_with_new_days=2, days_corrected=0)
    assert texts(store) == [
        "A 2022-01-03 123456789012.12345678 0.00000001",
        "A 2022-01-04 90071992547.40993000 90071992547.40993000",
        "B^=/._ 2022-01-03 7.00000000 4.00000000",
    ]


async def test_a_parquet_file_is_recorded_to_the_last_digit(tmp_path: Path) -> None:
    store = MemoryPriceStore()
    rows = [row(date=MONDAY, close=Decimal("123456789012.12345678"), adjusted_close=0.1)]
    report = await load(store, parquet(tmp_path, rows, {"close": pl.Decimal(28, 8), "instrument_id": pl.Categorical()}))
    assert report.problems == ()
    assert texts(store) == ["A 2022-01-03 123456789012.12345678 0.10000000"]


async def test_a_file_without_adjusted_closes_takes_the_closes_for_them(tmp_path: Path) -> None:
    store = MemoryPriceStore()
    await load(store, csv(tmp_path, [{"date": "2022-01-03", "close": "5.5", "instrument_id": "A"}]))
    assert texts(store) == ["A 2022-01-03 5.50000000 5.50000000"]


BAD_ROWS: list[tuple[Row, str, str]] = [
    (row(instrument_id=""), "instrument_id", "instrument_id is empty"),
    (row(instrument_id="A B"), "instrument_id", "'A B'"),
    (row(date=""), "date", "date is empty"),
    (row(date="2022-02-30"), "date", "'2022-02-30'"),
    (row(date="03.01.2022"), "date", "'03.01.2022', expected a date like 2025-06-21"),
    (row(date="2022-01-03T00:00:00"), "date", "expected a date like"),
    (row(date="1899-12-31"), "date", "expected one from 1900-01-01"),
    (row(date="2999-01-01"), "date", "date is 2999-01-01, expected one from"),
    (row(close=""), "close", "close is empty"),
    (row(close="0"), "close", "close is 0, expected above 0"),
    (row(close="-1"), "close", "close is -1, expected above 0"),
    (row(close="1e12"), "close", "expected less than 1e12"),
    (row(close="0.000000001"), "close", "expected at most 8 decimals"),
    (row(close="NaN"), "close", "'NaN', expected a number"),
    (row(close="Infinity"), "close", "expected a number"),
    (row(close="1_000"), "close", "expected a number"),
    (row(adjusted_close="0.0"), "adjusted_close", "expected above 0"),
    (row(adjusted_close="x"), "adjusted_close", "'x', expected a number"),
]


@pytest.mark.parametrize(
    ("bad", "field", "reason"), BAD_ROWS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_bad_row_is_told_by_line_field_and_reason(tmp_path: Path, bad: Row, field: str, reason: str) -> None:
    store = MemoryPriceStore()
    report = await load(store, csv(tmp_path, [row(date="2022-01-02"), bad, row(date="2022-01-05")]))
    (problem,) = report.problems
    assert (problem.line, problem.field) == (3, field)
    assert reason in problem.reason
    assert (report.rows_read, report.bad, report.recorded, store.prices) == (3, 1, None, {})


async def test_all_bad_rows_are_reported_and_none_recorded(tmp_path: Path) -> None:
    store = MemoryPriceStore()
    rows = [row(date="2022-01-02"), *(bad for bad, _, _ in BAD_ROWS), row(close="[red]", adjusted_close="?")]
    report = await load(store, csv(tmp_path, rows))
    assert [problem.line for problem in report.problems] == [*range(3, len(BAD_ROWS) + 4), len(BAD_ROWS) + 3]
    assert store.prices == {}
    assert shown(report)[-3:] == [
        "line 21: close is '[red]', expected a number, or a text with one",
        "line 21: adjusted_close is '?', expected a number, or a text with one",
        "20 read, 19 bad: nothing is recorded",
    ]


async def test_a_day_that_a_row_before_has_is_bad(tmp_path: Path) -> None:
    rows = [row(), row(date="2022-02-03"), row(date="2021-01-03"), row(instrument_id="B"), row(close="6"), row()]
    report = await load(MemoryPriceStore(), csv(tmp_path, rows))
    assert [str(problem) for problem in report.problems] == [
        "line 6: date is 2022-01-03, which a row before has for A",
        "line 7: date is 2022-01-03, which a row before has for A",
    ]


@given(days=st.lists(st.tuples(st.sampled_from("AB"), st.dates(date(1999, 12, 1), date(2001, 2, 1))), max_size=60))
def test_exactly_the_days_that_stand_twice_are_bad(days: list[tuple[str, date]]) -> None:
    with TemporaryDirectory() as folder:
        path = csv(Path(folder), [row(), *(row(instrument_id=name, date=day) for name, day in days)])
        report = asyncio.run(load(MemoryPriceStore(), path))
    assert report.bad == len(days) - len(set(days))


async def test_a_day_may_be_one_day_ahead(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    tomorrow = csv(tmp_path, [row(date=today + timedelta(days=1))])
    assert (await load(MemoryPriceStore(), tomorrow)).recorded is not None
    # Two days, so that midnight may pass meanwhile.
    later = csv(tmp_path, [row(date=today + timedelta(days=3))])
    assert (await load(MemoryPriceStore(), later)).recorded is None


async def test_a_refused_float_is_told_to_be_one(tmp_path: Path) -> None:
    (problem,) = (await load(MemoryPriceStore(), parquet(tmp_path, [row(close=0.1 + 0.2)]))).problems
    assert (problem.line, problem.field) == (1, "close")
    assert problem.reason == (
        "close is 0.30000000000000004, expected at most 8 decimals "
        "(the column holds binary floats, each read as the shortest decimal that gives it)"
    )


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        ("instrument_id,date", "missing column 'close'"),
        ("instrument_id,date,close,volume", "unknown column 'volume'"),
        ("instrument_id,date,close,close", "column 'close' stands twice"),
    ],
)
async def test_wrong_columns_are_named(tmp_path: Path, header: str, wrong: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(f"{header}\n")
    expected = re.escape(f"{path}: {wrong}. The columns are instrument_id, date, close, adjusted_close")
    with pytest.raises(InvalidRequest, match=expected):
        await load(MemoryPriceStore(), path)


@pytest.mark.parametrize(
    ("column", "kind", "wrong"),
    [
        ("date", pl.Datetime("us"), r"column 'date' has type Datetime.*, expected a Date, or text"),
        ("close", pl.Boolean(), "column 'close' has type Boolean, expected Decimal, an integer, Float64 or text"),
        ("instrument_id", pl.Float64(), "column 'instrument_id' has type Float64, expected text"),
    ],
)
async def test_a_parquet_column_that_is_not_exact_is_refused(
    tmp_path: Path, column: str, kind: pl.DataType, wrong: str
) -> None:
    path = parquet(tmp_path, [row(date=MONDAY, close=1, instrument_id=1)])
    pl.read_parquet(path).with_columns(pl.col(column).cast(kind)).write_parquet(path)
    with pytest.raises(InvalidRequest, match=wrong):
        await load(MemoryPriceStore(), path)


async def test_a_row_of_another_shape_is_bad(tmp_path: Path) -> None:
    path = csv(tmp_path, [row()])
    path.write_text(path.read_text() + "A,2022-01-04\n\nA,2022-01-05,1,1,1\n")
    report = await load(MemoryPriceStore(), path)
    assert [str(problem) for problem in report.problems] == [
        "line 3: the row has 2 fields, the header 4",
        "line 5: the row has 5 fields, the header 4",
    ]
    assert report.rows_read == 3


async def test_what_is_new_what_is_corrected_and_what_was_known_is_told(tmp_path: Path) -> None:
    store = MemoryPriceStore()
    first = csv(tmp_path, [row(), row(instrument_id="B"), row(instrument_id="B", date="2022-01-04")])
    assert shown(await load(store, first)) == ["3 read, 3 new days of 2 instruments, 0 corrected, 0 known before"]
    assert shown(await load(store, first)) == ["3 read, 0 new days of 0 instruments, 0 corrected, 3 known before"]
    second = csv(tmp_path, [row(close="6"), row(instrument_id="B"), row(instrument_id="B", date="2022-01-05")])
    assert shown(await load(store, second)) == ["3 read, 1 new days of 1 instruments, 1 corrected, 1 known before"]


async def test_an_empty_file_records_nothing(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("instrument_id,date,close\n")
    assert shown(await load(MemoryPriceStore(), path)) == [
        "0 read, 0 new days of 0 instruments, 0 corrected, 0 known before"
    ]
