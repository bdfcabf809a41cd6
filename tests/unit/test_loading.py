"""Loading files: exact, checked whole, booked once however often and however badly it goes."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from actors.protocol import UpdateOutcome
from cluster.loading import LoadReport, load_file, load_sample, show_report, source
from cluster.loading.report import PROBLEMS_MAX
from cluster.loading.rows import COLUMNS
from cluster.loading.source import open_source
from cluster.patience import Patience
from cluster.sample import sample_commands
from cluster.sample_prices import read_prices
from portfolio.book import Book
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.entries import Booked
from portfolio.errors import InvalidRequest, PortfolioQuarantined, ShardUnavailable
from portfolio.ids import Currency, InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.transactions import Transaction
from tests.oracles.builders import deposit, transaction
from tests.oracles.memory_gateway import CrashError, MemoryGateway, Mishap

Row = Mapping[str, object]

A, B, C = map(PortfolioId, "ABC")
X = InstrumentId("X")
SWIFT = Patience(total_s=0.05, pause_first_s=0.0, pause_max_s=0.001)
"""Gives up soon, for what is away for good."""
STEADY = Patience(total_s=30.0, pause_first_s=0.0, pause_max_s=0.0)


def row(portfolio_id: str = "A", kind: str = "BUY", **cells: object) -> dict[str, object]:
    """A row that is good, but for what `cells` say."""
    cash = kind in ("DEPOSIT", "WITHDRAWAL", "INTEREST", "FEE", "TAX")
    basis: dict[str, object] = {
        "portfolio_id": portfolio_id,
        "instrument_id": "USD" if cash else "X",
        "quantity_change": "100",
        "price": "1" if cash else "5.25",
        "transaction_type": kind,
        "timestamp": "2025-06-21T10:00:00Z",
        "portfolio_name": f"Portfolio {portfolio_id}",
    }
    return basis | cells


def csv(folder: Path, rows: Sequence[Row], name: str = "rows.csv") -> Path:
    """The rows as a CSV file with a column for each key."""
    columns = list(dict.fromkeys(column for cells in rows for column in cells))
    lines = [columns, *([str(cells.get(column, "")) for column in columns] for cells in rows)]
    path = folder / name
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def parquet(folder: Path, rows: Sequence[Row], schema: Mapping[str, pl.DataType] | None = None) -> Path:
    path = folder / "rows.parquet"
    pl.DataFrame(rows, schema_overrides=schema, strict=True, infer_schema_length=None).write_parquet(path)
    return path


async def load(
    gateway: MemoryGateway,
    path: Path,
    *,
    all_or_nothing: bool = False,
    dry_run: bool = False,
    patience: Patience = STEADY,
) -> LoadReport:
    return await load_file(
        gateway, path, all_or_nothing=all_or_nothing, dry_run=dry_run, console=quiet(), patience=patience
    )


def quiet() -> Console:
    return Console(file=io.StringIO(), width=400)


def shown(report: LoadReport) -> str:
    console = quiet()
    show_report(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def counts(report: LoadReport) -> tuple[int, int, int, int, int]:
    return report.rows_read, report.booked, report.skipped, report.bad, report.left_out


def problem_texts(report: LoadReport) -> list[str]:
    return [str(problem) for problem in report.problems]


def booked(gateway: MemoryGateway) -> list[Booked]:
    return [entry for entry in gateway.entries if isinstance(entry, Booked)]


async def test_a_csv_file_is_booked_to_the_last_digit(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    rows = [
        row(quantity_change="123456789012.12345678", price="0.00000001", transaction_type="buy", fee="0.10"),
        row(quantity_change="-0.00000001", price="9007199254740.993e-2", transaction_type="Sell"),
        row(kind="DEPOSIT", quantity_change=" 90071992547.41 ", price=""),
        row(kind="SPLIT", quantity_change="", price="", ratio="2:1", timestamp="2025-06-22T10:00:00.000001+02:00"),
    ]
    report = await load(gateway, csv(tmp_path, rows))
    assert counts(report) == (4, 4, 0, 0, 0)
    assert report.is_complete
    assert (report.updates_booked, report.portfolios_opened) == (2, 1)
    bought, sold, paid_in, split = booked(gateway)
    assert str(bought.quantity) == "123456789012.12345678"
    assert (f"{bought.price:f}", str(bought.fee)) == ("0.00000001", "0.10")
    assert (f"{sold.quantity:f}", str(sold.price)) == ("-0.00000001", "90071992547.40993000")
    assert str(paid_in.value) == "90071992547.41"
    assert str(split.ratio) == "2:1"
    assert bought.effective_at == datetime(2025, 6, 21, 10, tzinfo=UTC)
    assert split.effective_at == datetime(2025, 6, 22, 8, 0, 0, 1, tzinfo=UTC)


async def test_a_parquet_file_is_booked_to_the_last_digit(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    moment = datetime(2025, 6, 21, 10, 0, 0, 1, tzinfo=UTC)
    rows = [
        row(quantity_change=Decimal("123456789012.12345678"), price=Decimal("0.00000001"), fee=3, timestamp=moment),
        row(quantity_change=Decimal("0.1"), price=Decimal("7"), fee=None, timestamp=None),
    ]
    schema = {"quantity_change": pl.Decimal(28, 8), "price": pl.Decimal(28, 8), "timestamp": pl.Datetime("ns", "UTC")}
    report = await load(gateway, parquet(tmp_path, rows, {**schema, "transaction_type": pl.Categorical()}))
    assert counts(report) == (2, 2, 0, 0, 0)
    first, second = booked(gateway)
    assert (str(first.quantity), f"{first.price:f}", str(first.fee)) == ("123456789012.12345678", "0.00000001", "3.00")
    assert first.effective_at == moment
    assert (str(second.quantity), second.effective_at) == ("0.10000000", second.recorded_at)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
async def test_times_of_a_parquet_file_are_read_in_their_zone(tmp_path: Path, unit: Literal["ms", "us", "ns"]) -> None:
    gateway = MemoryGateway()
    moment = datetime(2025, 6, 21, 10, tzinfo=UTC)
    path = parquet(tmp_path, [row(timestamp=moment)], {"timestamp": pl.Datetime(unit, "UTC")})
    frame = pl.read_parquet(path).with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"))
    frame.write_parquet(path)
    await load(gateway, path)
    assert [entry.effective_at for entry in booked(gateway)] == [moment]


async def test_a_time_finer_than_a_microsecond_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, [row(timestamp=1)], {"timestamp": pl.Int64()})
    pl.read_parquet(path).with_columns(pl.col("timestamp").cast(pl.Datetime("ns", "UTC"))).write_parquet(path)
    (problem,) = (await load(MemoryGateway(), path)).problems
    assert (problem.line, problem.field) == (1, "timestamp")


NUMBERS = st.decimals(Decimal("0.00000001"), Decimal("99999999999"), places=8)


@given(numbers=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5), is_parquet=st.booleans())
def test_every_number_arrives_as_it_was_written(numbers: list[tuple[Decimal, Decimal]], is_parquet: bool) -> None:
    gateway = MemoryGateway()
    written = [
        (quantity, min(price, Decimal(10**15) / quantity).quantize(Decimal("1e-8"))) for quantity, price in numbers
    ]
    written = [(quantity, price or Decimal("1e-8")) for quantity, price in written]
    schema = {"quantity_change": pl.Decimal(28, 8), "price": pl.Decimal(28, 8)}
    with TemporaryDirectory() as folder:
        rows = [row(quantity_change=quantity, price=price) for quantity, price in written]
        path = parquet(Path(folder), rows, schema) if is_parquet else csv(Path(folder), rows)
        report = asyncio.run(load(gateway, path))
    assert report.problems == ()
    assert [(entry.quantity, entry.price) for entry in booked(gateway)] == written


@given(numbers=st.lists(st.decimals(Decimal("0.01"), Decimal(999_999), places=4), min_size=1, max_size=20))
def test_a_decimal_that_was_stored_as_a_float_comes_back(numbers: list[Decimal]) -> None:
    gateway = MemoryGateway()
    with TemporaryDirectory() as folder:
        path = parquet(Path(folder), [row(price=float(number)) for number in numbers])
        asyncio.run(load(gateway, path))
    assert [entry.price for entry in booked(gateway)] == numbers


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-9, float("nan"), float("inf"), 1e300])
async def test_a_float_that_fits_no_scale_is_refused(tmp_path: Path, number: float) -> None:
    report = await load(MemoryGateway(), parquet(tmp_path, [row(price=0.1), row(price=number)]))
    (problem,) = report.problems
    assert (problem.line, problem.field) == (2, "price")


async def test_a_refused_float_is_told_to_be_one(tmp_path: Path) -> None:
    (problem,) = (await load(MemoryGateway(), parquet(tmp_path, [row(price=0.1 + 0.2)]))).problems
    assert problem.reason == (
        "price is 0.30000000000000004, expected at most 8 decimals "
        "(the column holds binary floats, each read as the shortest decimal that gives it)"
    )


async def test_single_floats_are_read_by_their_own_shortest_text(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    await load(gateway, parquet(tmp_path, [row(price=0.1)], {"price": pl.Float32()}))
    assert [entry.price for entry in booked(gateway)] == [Decimal("0.1")]


BAD_ROWS: list[tuple[Row, str | None, str]] = [
    (row("A B"), "portfolio_id", "'A B'"),
    (row(""), "portfolio_id", "portfolio_id is empty"),
    (row("Z0", portfolio_name=""), "portfolio_id", "there is no portfolio Z0: give a portfolio_name"),
    (row("Z1", base_currency="usd"), "base_currency", "'usd'"),
    (row("Z2", min_cash="0.001"), "min_cash", "expected at most 2 decimals"),
    (row("Z3", min_cash="none"), "min_cash", "expected a number"),
    (row("Z4", allow_short="maybe"), "allow_short", "expected true or false"),
    (row("Z5", portfolio_name="a\tb"), "portfolio_name", "printable"),
    (row(instrument_id=""), "instrument_id", "instrument_id is empty"),
    (row(instrument_id="X Y"), "instrument_id", "'X Y'"),
    (row(instrument_id="USD"), "instrument_id", "expected an instrument, not USD"),
    (row(transaction_type="HOLD"), "transaction_type", "'HOLD'"),
    (row(transaction_type=""), "transaction_type", "transaction_type is empty"),
    (row(quantity_change="1_000"), "quantity_change", "'1_000', expected a number"),
    (row(quantity_change="ten"), "quantity_change", "'ten', expected a number"),
    (row(quantity_change="NaN"), "quantity_change", "'NaN', expected a number"),
    (row(quantity_change="-1"), "quantity_change", "expected above 0 for BUY"),
    (row(quantity_change=""), "quantity_change", "expected above 0 for BUY"),
    (row(quantity_change="1e12"), "quantity_change", "expected less than 1e12"),
    (row(quantity_change="0.000000001"), "quantity_change", "expected at most 8 decimals"),
    (row(price="0"), "price", "expected above 0 for BUY"),
    (row(price="0x1"), "price", "'0x1', expected a number"),
    (row(fee="-1"), "fee", "expected none below 0"),
    (row(kind="DEPOSIT", fee="1"), "fee", "only on BUY, COVER, SELL, SHORT"),
    (row(ratio="2:1"), "ratio", "expected one with SPLIT"),
    (row(kind="SPLIT", quantity_change="0", price="0", ratio="2-1"), "ratio", "'2-1'"),
    (row(transaction_id="7"), "transaction_id", "expected a UUID"),
    (row(timestamp="2025-06-21"), "timestamp", "expected a time like"),
    (row(timestamp="2025-06-21T10:00:00"), "timestamp", "expected a time like"),
    (row(timestamp="2025-13-21T10:00:00Z"), "timestamp", "'2025-13-21T10:00:00Z'"),
    (row(kind="SELL", instrument_id="Y", quantity_change="-1", portfolio_id="L"), "quantity_change", "0 held"),
    (row(kind="SHORT", instrument_id="Y", quantity_change="-1", portfolio_id="L"), "quantity_change", "no shorts"),
    (row(kind="COVER", instrument_id="Y"), "quantity_change", "0 held"),
    (row(kind="DIVIDEND", instrument_id="Y", quantity_change="0"), "quantity_change", "0 held"),
    (row("S"), "portfolio_id", "SUSPENDED"),
    (row("M", price="1000"), None, "the portfolio's minimum is 0"),
]


async def with_portfolios() -> MemoryGateway:
    """A, B and C; L and M, long only, with 500 and no overdraft; S, suspended. None holds anything."""
    gateway = MemoryGateway()
    for name in "ABCLMS":
        is_strict = name in "LM"
        gateway.execute(
            OpenPortfolio(
                portfolio_id=PortfolioId(name),
                portfolio_name=name,
                cash_balance=Decimal(500 if is_strict else 0),
                allow_short=not is_strict,
                min_cash=Decimal(0) if is_strict else None,
            )
        )
    gateway.execute(ChangeStatus(portfolio_id=PortfolioId("S"), status=Status.SUSPENDED))
    return gateway


@pytest.mark.parametrize(
    ("bad", "field", "reason"), BAD_ROWS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_bad_row_is_told_by_line_field_and_reason(
    tmp_path: Path, bad: Row, field: str | None, reason: str
) -> None:
    gateway = await with_portfolios()
    path = csv(tmp_path, [row("C"), bad, row("C")])
    checked = await load(gateway, path, dry_run=True)
    report = await load(gateway, path)
    assert checked.problems == report.problems
    (problem,) = report.problems
    assert (problem.line, problem.field, problem.portfolio_id) == (3, field, str(bad["portfolio_id"]) or None)
    assert reason in problem.reason
    assert counts(report) == (3, 2, 0, 1, 0)
    assert not report.is_complete


async def test_all_bad_rows_are_reported_and_the_good_portfolios_booked(tmp_path: Path) -> None:
    gateway = await with_portfolios()
    rows = [row("C"), *(bad for bad, _, _ in BAD_ROWS), row("C", kind="SELL", quantity_change="-100")]
    report = await load(gateway, csv(tmp_path, rows))
    assert [problem.line for problem in report.problems] == list(range(3, len(BAD_ROWS) + 3))
    assert counts(report) == (len(rows), 2, 0, len(BAD_ROWS), 0)
    assert gateway.books[C].version == 3
    assert {name: gateway.books[PortfolioId(name)].version for name in "ABLMS"} == {
        "A": 1,
        "B": 1,
        "L": 2,
        "M": 2,
        "S": 2,
    }


async def test_every_wrong_field_of_a_row_is_named(tmp_path: Path) -> None:
    report = await load(MemoryGateway(), csv(tmp_path, [row(quantity_change="x", price="y", timestamp="z")]))
    assert [problem.field for problem in report.problems] == ["quantity_change", "price", "timestamp"]
    assert (report.bad, report.problem_count) == (1, 3)


async def test_what_follows_a_refused_row_is_judged_without_it(tmp_path: Path) -> None:
    gateway = await with_portfolios()
    rows = [
        row(instrument_id="Y", kind="COVER"),
        row("A"),
        row("A", kind="SELL", quantity_change="-60"),
        row("A", kind="COVER", quantity_change="1"),
        row("A", kind="SHORT", quantity_change="-1"),
        row("A", kind="SELL", quantity_change="-40"),
        row("A", kind="SHORT", quantity_change="-1"),
    ]
    report = await load(gateway, csv(tmp_path, rows))
    assert [problem.line for problem in report.problems] == [2, 5, 6]
    assert gateway.books[A].version == 1


async def test_minimum_cash_is_not_asked_of_an_update_with_a_refused_row(tmp_path: Path) -> None:
    rows = [row("L", kind="DEPOSIT", quantity_change="-500"), row("L", price="10"), row("L", price="10", timestamp="")]
    report = await load(await with_portfolios(), csv(tmp_path, rows))
    assert [problem.line for problem in report.problems] == [2, 4]


async def test_minimum_cash_is_asked_of_the_rows_with_one_timestamp(tmp_path: Path) -> None:
    gateway = await with_portfolios()
    apart = [row("L", price="10"), row("L", kind="DEPOSIT", quantity_change="500", timestamp="2025-06-22T10:00:00Z")]
    report = await load(gateway, csv(tmp_path, apart))
    assert [(problem.line, problem.field) for problem in report.problems] == [(2, None)]
    together = [{**item, "timestamp": "2025-06-21T10:00:00Z"} for item in apart]
    assert counts(await load(gateway, csv(tmp_path, together))) == (2, 2, 0, 0, 0)


async def test_all_or_nothing_books_nothing_with_one_bad_row(tmp_path: Path) -> None:
    gateway = await with_portfolios()
    before = list(gateway.entries)
    path = csv(tmp_path, [row("A"), row("B"), row("C", price="0")])
    report = await load(gateway, path, all_or_nothing=True)
    assert counts(report) == (3, 0, 0, 1, 2)
    assert gateway.entries == before
    good = csv(tmp_path, [row("A"), row("B"), row("C")])
    assert counts(await load(gateway, good, all_or_nothing=True)) == (3, 3, 0, 0, 0)


async def test_a_dry_run_checks_and_books_nothing(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    report = await load(gateway, csv(tmp_path, [row("A"), row("B")]), dry_run=True)
    assert counts(report) == (2, 0, 0, 0, 2)
    assert report.is_complete
    assert gateway.books == {}
    assert "dry run: 2 read, 0 booked" in shown(report)
    assert not (await load(gateway, csv(tmp_path, [row("A", price="0")]), dry_run=True)).is_complete


async def test_portfolios_are_opened_as_their_rows_say(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    rows = [
        row("A", portfolio_name='"Fern, Oak"', base_currency="EUR", allow_short="False", min_cash="-7.5"),
        row("B", portfolio_name="Ünal"),
        row("A", portfolio_name="", base_currency="", allow_short="", min_cash=""),
    ]
    await load(gateway, csv(tmp_path, [{**item, "price": "0.01"} for item in rows]))
    first, second = gateway.books[A], gateway.books[B]
    assert (first.portfolio_name, first.base_currency, first.allow_short) == ("Fern, Oak", Currency("EUR"), False)
    assert first.min_cash == Decimal("-7.5")
    assert (second.portfolio_name, second.base_currency, second.min_cash) == ("Ünal", Currency("USD"), None)
    assert (len(first.positions), first.version) == (1, 3)


async def test_two_ways_to_open_one_portfolio_are_refused(tmp_path: Path) -> None:
    rows = [
        row("A", allow_short="false"),
        row("A"),
        row("A", portfolio_name="Other"),
        row("A", allow_short="true"),
        row("A", min_cash="0"),
        row("A", base_currency="USD"),
    ]
    report = await load(MemoryGateway(), csv(tmp_path, rows))
    assert [(problem.line, problem.field) for problem in report.problems] == [
        (4, "portfolio_name"),
        (5, "allow_short"),
        (6, "min_cash"),
    ]
    assert problem_texts(report)[0] == (
        "line 4, A: portfolio_name is 'Other', expected 'Portfolio A' as where A is first named"
    )


async def test_how_to_open_a_portfolio_does_not_matter_to_one_that_exists(tmp_path: Path) -> None:
    gateway = await with_portfolios()
    assert (await load(gateway, csv(tmp_path, [row("A", portfolio_name="Other", min_cash="0")]))).is_complete
    assert (gateway.books[A].portfolio_name, gateway.books[A].min_cash) == ("A", None)


async def test_a_missing_portfolio_is_told_once(tmp_path: Path) -> None:
    report = await load(MemoryGateway(), csv(tmp_path, [row("A", portfolio_name="")] * 5))
    assert [problem.line for problem in report.problems] == [2]
    assert counts(report) == (5, 0, 0, 1, 4)


async def test_a_portfolio_in_quarantine_is_told_once_and_the_others_are_booked(tmp_path: Path) -> None:
    class Quarantining(MemoryGateway):
        async def book(self, portfolio_id: PortfolioId) -> Book | None:
            if portfolio_id == "B":
                raise PortfolioQuarantined("portfolio B is in quarantine: a row is damaged")
            return await super().book(portfolio_id)

    gateway = Quarantining()
    report = await load(gateway, csv(tmp_path, [row("A"), row("B"), row("B"), row("C")]))
    assert counts(report)[:2] == (4, 2)
    assert not report.is_complete
    (problem,) = problem_texts(report)
    assert "portfolio B is in quarantine" in problem


async def test_a_transaction_id_may_stand_in_one_row(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    same = UUID(int=7)
    rows = [
        row("A", transaction_id=same),
        row("A", transaction_id=UUID(int=8)),
        row("B", transaction_id=str(same).upper()),
        row("C", transaction_id=UUID(int=9).hex),
        row("C", transaction_id=UUID(int=9)),
        row("C", transaction_id=same),
    ]
    report = await load(gateway, csv(tmp_path, rows))
    assert [(problem.line, problem.field) for problem in report.problems] == [
        (4, "transaction_id"),
        (6, "transaction_id"),
        (7, "transaction_id"),
    ]
    assert counts(report) == (6, 2, 0, 3, 1)
    assert [entry.transaction_id for entry in booked(gateway)] == [same, UUID(int=8)]


async def test_a_transaction_id_that_is_booked_already_is_told_with_its_line(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    await load(gateway, csv(tmp_path, [row("A", transaction_id=UUID(int=7))]))
    rows = [row("A"), row("A", transaction_id=UUID(int=7), timestamp="2025-06-22T10:00:00Z"), row("B")]
    report = await load(gateway, csv(tmp_path, rows))
    (problem,) = report.problems
    assert (problem.line, problem.portfolio_id, problem.field) == (3, "A", "transaction_id")
    assert counts(report) == (3, 2, 0, 1, 0)


FILES: list[tuple[str, bytes, str]] = [
    ("rows.txt", b"", "ends in '.txt', expected .csv or .parquet"),
    ("rows.csv", b"", "is empty, expected a header"),
    ("rows.csv", b"portfolio_id\n", "missing column 'instrument_id'; missing column 'quantity_change'"),
    ("rows.csv", b"portfolio_id;price\n", "unknown column 'portfolio_id;price'"),
    ("rows.csv", b"portfolio_id,price,price\n", "column 'price' stands twice"),
    ("rows.csv", b"a," * 200 + b"\n", "has 201 columns, expected at most 100"),
    ("rows.csv", b"portfolio_id\n\xff\n", "cannot be read: 'utf-8' codec"),
    ("rows.csv", b'portfolio_id\n"a"b\n', "line 2: ',' expected"),
    ("rows.csv", b'portfolio_id\n"a\n', "unexpected end of data"),
    ("rows.parquet", b"PAR1", "cannot be read"),
    ("missing.csv", b"", "cannot be read"),
]


@pytest.mark.parametrize(("name", "content", "reason"), FILES)
async def test_a_file_that_cannot_be_read_is_refused_whole(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    if name != "missing.csv":
        path.write_bytes(content)
    with pytest.raises(InvalidRequest) as caught:
        await load(MemoryGateway(), path)
    assert reason in caught.value.detail


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("timestamp", datetime(2025, 6, 21), "a Datetime with a time zone, or text"),  # noqa: DTZ001
        ("timestamp", 7, "a Datetime with a time zone, or text"),
        ("price", True, "Decimal, an integer, Float64 or text"),
        ("price", [1], "Decimal, an integer, Float64 or text"),
        ("portfolio_id", 1.5, "text"),
        ("transaction_id", b"abc", "text"),
    ],
)
async def test_a_parquet_column_of_an_inexact_type_is_refused(
    tmp_path: Path, column: str, cell: object, expected: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await load(MemoryGateway(), parquet(tmp_path, [row() | {column: cell}]))
    assert f"column '{column}' has type" in caught.value.detail
    assert caught.value.detail.endswith(f"expected {expected}")


async def test_limits_of_size_and_rows_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = csv(tmp_path, [row(), row()])
    monkeypatch.setattr(source, "ROWS_MAX", 1)
    with pytest.raises(InvalidRequest, match="has 2 rows, expected at most 1"):
        await load(MemoryGateway(), path)
    monkeypatch.setattr(source, "FILE_BYTES_MAX", 10)
    with pytest.raises(InvalidRequest, match="bytes, expected at most 10"):
        await load(MemoryGateway(), path)


async def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path, [row()])
    opened = open_source(path, COLUMNS)
    path.write_text(path.read_text() + "\n")
    os.utime(path, ns=(0, 0))
    with pytest.raises(InvalidRequest, match="was changed while it was read"):
        list(opened.blocks())


async def test_rows_with_too_few_or_too_many_fields_are_bad_and_keep_their_lines(tmp_path: Path) -> None:
    header = "portfolio_id,portfolio_name,transaction_type,instrument_id,quantity_change,price,fee"
    lines = [
        header,
        "A,A,BUY,X,1,2,3",
        "",
        "B,B,BUY,X,1",
        'C,"C\nC",BUY,X,1,2,',
        "B,B,BUY,X,1,2,3,4",
        "A,A,BUY,X,1,2,",
        ",,,,,,",
        "A,A,BUY,X,oops,2,",
    ]
    for newline in ("\n", "\r\n"):
        path = tmp_path / "rows.csv"
        path.write_bytes(b"\xef\xbb\xbf" + newline.join([*lines, "", ""]).encode())
        report = await load(MemoryGateway(), path)
        assert [(problem.line, problem.portfolio_id) for problem in report.problems] == [
            (4, "B"),
            (5, "C"),
            (7, "B"),
            (10, "A"),
        ]
        assert "has 5 fields, the header 7" in report.problems[0].reason
        assert "has 8 fields, the header 7" in report.problems[2].reason
        assert counts(report) == (6, 0, 0, 4, 2)


async def test_a_file_without_rows_is_complete(tmp_path: Path) -> None:
    path = csv(tmp_path, [row()])
    path.write_text(path.read_text().splitlines()[0] + "\n")
    report = await load(MemoryGateway(), path)
    assert counts(report) == (0, 0, 0, 0, 0)
    assert report.is_complete


async def test_a_second_run_books_nothing(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    path = csv(tmp_path, [row("A"), row("B"), row("A", timestamp=""), row("A")])
    await load(gateway, path)
    before = list(gateway.entries)
    report = await load(gateway, path)
    assert counts(report) == (4, 0, 4, 0, 0)
    assert report.is_complete
    assert gateway.entries == before
    assert gateway.calls["update_many"] == 1
    renamed = path.rename(tmp_path / "other.csv")
    assert counts(await load(gateway, renamed)) == (4, 0, 4, 0, 0)


async def test_the_same_rows_in_another_file_are_booked(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    await load(gateway, csv(tmp_path, [row("A")]))
    assert counts(await load(gateway, csv(tmp_path, [row("A"), row("A")]))) == (2, 2, 0, 0, 0)


def many_rows() -> list[Row]:
    """40 rows of three portfolios in 20 updates: two of the same moment, then another."""
    return [
        row("ABC"[number % 3], timestamp=f"2025-06-{1 + number // 6:02}T10:00:00Z", price=str(number + 1))
        for number in range(40)
    ]


async def loaded(path: Path) -> MemoryGateway:
    gateway = MemoryGateway()
    assert (await load(gateway, path)).is_complete
    return gateway


async def test_a_load_that_crashed_anywhere_continues_where_it_was(tmp_path: Path) -> None:
    path = csv(tmp_path, many_rows())
    expected = await loaded(path)
    commands = len({entry.portfolio_id for entry in expected.entries}) + 21
    for position in range(commands):
        gateway = MemoryGateway([Mishap.NONE] * position + [Mishap.CRASH])
        with pytest.raises(CrashError):
            await load(gateway, path)
        known = len(booked(gateway))
        gateway.meet([])
        report = await load(gateway, path)
        assert counts(report) == (40, 40 - known, known, 0, 0)
        assert gateway.books == expected.books
        assert len(gateway.entries) == len(expected.entries)


MISHAPS = st.lists(st.sampled_from([mishap for mishap in Mishap if mishap is not Mishap.CRASH]), max_size=60)


@given(mishaps=MISHAPS, crashes=st.lists(st.integers(0, 30), max_size=3))
def test_whatever_goes_wrong_every_row_is_booked_once_and_in_order(mishaps: list[Mishap], crashes: list[int]) -> None:
    with TemporaryDirectory() as folder:
        path = csv(Path(folder), many_rows())
        expected = asyncio.run(loaded(path))
        gateway = MemoryGateway()
        for crash in crashes:
            gateway.meet([*mishaps[:crash], Mishap.CRASH])
            with suppress(CrashError):
                asyncio.run(load(gateway, path))
        gateway.meet(mishaps)
        assert asyncio.run(load(gateway, path)).is_complete
    assert gateway.books == expected.books
    for portfolio_id in (A, B, C):
        assert [item for item in gateway.entries if item.portfolio_id == portfolio_id] == [
            item for item in expected.entries if item.portfolio_id == portfolio_id
        ]


async def test_an_answer_that_was_lost_counts_as_booked_now(tmp_path: Path) -> None:
    path = csv(tmp_path, many_rows())
    gateway = MemoryGateway([Mishap.LOST_AFTER] * 30)
    report = await load(gateway, path)
    assert counts(report) == (40, 40, 0, 0, 0)
    assert (report.portfolios_opened, report.updates_booked) == (3, 21)


async def test_it_gives_up_after_its_patience_and_continues_when_run_again(tmp_path: Path) -> None:
    path = csv(tmp_path, many_rows())
    gateway = MemoryGateway([*[Mishap.NONE] * 9, *[Mishap.UNAVAILABLE] * 100_000])
    report = await load(gateway, path, patience=SWIFT)
    assert report.gave_up == "shard-unavailable: the shard is away"
    assert not report.is_complete
    assert 0 < report.booked < 40
    assert report.left_out == 40 - report.booked
    assert "load the same again to continue" in shown(report)
    gateway.meet([])
    assert counts(await load(gateway, path)) == (40, report.left_out, report.booked, 0, 0)


class Deaf(MemoryGateway):
    """Takes no questions."""

    async def book(self, portfolio_id: PortfolioId) -> None:
        raise ShardUnavailable("the shard is away")


async def test_a_service_that_cannot_be_asked_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardUnavailable):
        await load(Deaf(), csv(tmp_path, [row()]), patience=SWIFT)


class Busy(MemoryGateway):
    """Another writer books in A before each of the first calls."""

    def __init__(self, others: Iterable[Transaction]) -> None:
        super().__init__()
        self._others = iter(others)

    async def update_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        for other in islice(self._others, 1):
            self.execute(UpdatePortfolio(portfolio_id=A, transactions=(other,)))
        return await super().update_many(commands)


async def test_another_writer_in_the_portfolio_does_not_stop_the_load(tmp_path: Path) -> None:
    gateway = Busy([deposit("1"), deposit("2"), deposit("3")])
    report = await load(gateway, csv(tmp_path, many_rows()))
    assert counts(report) == (40, 40, 0, 0, 0)
    assert [entry.price for entry in booked(gateway) if entry.portfolio_id == B] == list(range(2, 41, 3))
    assert sum(entry.quantity for entry in booked(gateway) if entry.instrument_id == "USD") == 6


async def test_a_row_that_no_longer_fits_ends_its_portfolio(tmp_path: Path) -> None:
    gateway = Busy([transaction("WITHDRAWAL", "USD", "-1", "1")])
    gateway.execute(OpenPortfolio(portfolio_id=A, portfolio_name="A", cash_balance=Decimal(1), min_cash=Decimal(0)))
    paid_in = row("A", kind="DEPOSIT", quantity_change="524")
    report = await load(gateway, csv(tmp_path, [paid_in, row("A", timestamp=""), row("B"), paid_in]))
    assert [(problem.line, problem.portfolio_id) for problem in report.problems] == [(3, "A")]
    assert "min-cash-breached" in report.problems[0].reason
    assert counts(report) == (4, 2, 0, 1, 1)


async def test_consecutive_rows_of_one_moment_are_one_update_of_at_most_a_thousand(tmp_path: Path) -> None:
    gateway = MemoryGateway()
    rows = [row("A")] * 1_001 + [row("B")] + [row("A")] + [row("A", timestamp="")] * 2 + [row("A")]
    report = await load(gateway, csv(tmp_path, rows))
    assert report.updates_booked == 5  # Of A: 1,000, then 2 (the row of B is none of its), 2 and 1; of B: 1.
    assert gateway.largest_call == 1_006


async def test_a_large_file_is_read_and_booked_in_bounded_parts(tmp_path: Path) -> None:
    rows = [row("ABC"[number % 3], timestamp="", price=str(1 + number % 7)) for number in range(25_000)]
    path = csv(tmp_path, rows)
    gateway = MemoryGateway()
    assert [len(block) for block in open_source(path, COLUMNS).blocks()] == [20_000, 5_000]
    assert counts(await load(gateway, path)) == (25_000, 25_000, 0, 0, 0)
    assert gateway.largest_call <= 5_000
    assert counts(await load(gateway, path)) == (25_000, 0, 25_000, 0, 0)


async def test_blocks_end_updates_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = csv(tmp_path, many_rows())
    expected = await loaded(path)
    monkeypatch.setattr(source, "BLOCK_ROWS", 7)
    gateway = await loaded(path)
    assert gateway.books == expected.books
    assert gateway.calls["known_keys"] == 0
    assert counts(await load(gateway, path)) == (40, 0, 40, 0, 0)
    path.write_text(path.read_text() + "\n")
    gateway.calls.clear()
    assert counts(await load(gateway, path)) == (40, 40, 0, 0, 0)
    assert (
        gateway.calls["known_keys"] == 3
    )  # Once for each portfolio: what follows an update to be booked is not booked.
    for position in range(0, 30, 3):
        gateway = MemoryGateway([Mishap.NONE] * position + [Mishap.CRASH])
        with pytest.raises(CrashError):
            await load(gateway, path)
        gateway.meet([])
        assert (await load(gateway, path)).is_complete
        assert gateway.books == expected.books


async def test_the_first_thousand_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    report = await load(MemoryGateway(), csv(tmp_path, [row(price="[red]")] * (PROBLEMS_MAX + 234)))
    assert (len(report.problems), report.problem_count, report.bad) == (PROBLEMS_MAX, 1_234, 1_234)
    lines = shown(report).splitlines()
    assert lines[0] == "line 2, A: price is '[red]', expected a number, or a text with one"
    assert lines[PROBLEMS_MAX:] == ["and 234 more", "1,234 read, 0 booked, 0 booked before, 1,234 bad, 0 left out"]


async def test_the_throughput_is_told_and_what_to_do_with_the_rest(tmp_path: Path) -> None:
    report = await load(MemoryGateway(), csv(tmp_path, [row("A"), row("B", price="0")]))
    text = shown(report)
    assert "1 updates in" in text
    assert "transactions/s" in text
    assert "a file that was changed is a new file" in text
    assert report.transactions_per_s == report.updates_per_s > 0


PRICES = read_prices()
FEW: dict[str, Any] = {"portfolio_count": 20, "transaction_count": 1_000}


async def load_few(gateway: MemoryGateway) -> LoadReport:
    return await load_sample(gateway, console=quiet(), patience=STEADY, **FEW)


async def test_the_sample_is_loaded_with_the_last_closes_as_marks() -> None:
    gateway = MemoryGateway()
    report = await load_few(gateway)
    assert counts(report) == (1_000, 1_000, 0, 0, 0)
    assert report.portfolios_opened == len(gateway.books) == 20
    assert gateway.marks == PRICES.last_marks()
    assert {book.status for book in gateway.books.values()} == set(Status)
    assert counts(await load_few(gateway)) == (1_000, 0, 1_000, 0, 0)


async def test_a_sample_load_that_crashed_continues_where_it_was() -> None:
    complete = MemoryGateway()
    await load_few(complete)
    commands = sum(len(item.commands) + 1 for item in sample_commands(PRICES, **FEW))
    for position in range(0, commands, 23):
        gateway = MemoryGateway([Mishap.NONE] * position + [Mishap.CRASH])
        with pytest.raises(CrashError):
            await load_few(gateway)
        known = len(booked(gateway))
        gateway.meet([Mishap.OVERLOADED, Mishap.LOST_AFTER, Mishap.LOST_BEFORE] * 5)
        report = await load_few(gateway)
        assert report.is_complete
        assert report.skipped <= known
        assert gateway.books == complete.books
        assert len(gateway.entries) == len(complete.entries)


async def test_somebody_elses_portfolio_is_left_alone_by_the_sample() -> None:
    gateway = MemoryGateway()
    theirs = PortfolioId("PORTFOLIO-0002")
    gateway.execute(OpenPortfolio(portfolio_id=theirs, portfolio_name="Mine"))
    report = await load_few(gateway)
    assert [(problem.portfolio_id, problem.line) for problem in report.problems] == [(theirs, None)]
    assert "portfolio-exists" in str(report.problems[0])
    assert gateway.books[theirs].version == 1
    assert not report.is_complete
