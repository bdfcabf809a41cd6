"""Journal rows: an entry as columns of text, the row's hash, and the way back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, assert_never

from persistence.array_literal import bytes_array, bytes_text, plain_array, text_array
from portfolio import ids, money
from portfolio.entries import Booked, Entry, Opened, StatusChanged
from portfolio.errors import Corrupt, PortfolioError
from portfolio.ids import Currency, IdempotencyKey, PortfolioId
from portfolio.ports import Head, PendingRow, StoredRow
from portfolio.status import Status
from portfolio.transactions import Ratio, TransactionType

FORMAT: Final = 1
"""Version of the row's meaning. Rows of every earlier format are read for ever."""

_QUOTED: Final = frozenset({"portfolio_id", "instrument_id", "detail", "idempotency_key", "request_hash"})
_ROWS_PER_STEP: Final = 100
_SEPARATOR: Final = "\x1f"
_NULL: Final = "\x00"

Column = str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows ready to append: one array literal a column, and where the journal ends after them."""

    columns: dict[str, str]
    count: int
    head: Head


def encoding(rows: Sequence[PendingRow], head: Head) -> Generator[None, None, Batch]:
    """`rows` as they follow `head`, numbered and chained to it; some rows a step, for a caller with other things to do."""
    lines: list[tuple[Column, ...]] = []
    hashes: list[bytes] = []
    seq, row_hash = head.seq, head.row_hash
    for row in rows:
        if seq % _ROWS_PER_STEP == 0:
            yield
        seq += 1
        line = _line(seq, row.entry, row.idempotency_key, row.request_hash)
        row_hash = chained(row_hash, line)
        lines.append(line)
        hashes.append(row_hash)
    columns: dict[str, str] = {
        name: (text_array if name in _QUOTED else plain_array)(values)
        for name, values in zip(_NAMES, zip(*lines, strict=True), strict=True)
    }
    columns["row_hash"] = bytes_array(hashes)
    return Batch(columns, len(lines), Head(seq, row_hash))


def chained(previous: bytes, line: tuple[Column, ...]) -> bytes:
    """The hash of a row: sha256 over the hash before it and the row's columns."""
    text = _SEPARATOR.join([_NULL if value is None else value for value in line])
    return hashlib.sha256(previous + text.encode()).digest()


_NAMES: Final = (
    "seq",
    "format",
    "portfolio_id",
    "version",
    "kind",
    "transaction_id",
    "transaction_id_given",
    "transaction_type",
    "instrument_id",
    "quantity",
    "price",
    "value",
    "fee",
    "detail",
    "idempotency_key",
    "request_hash",
    "effective_at",
    "recorded_at",
)


def _line(seq: int, entry: Entry, key: IdempotencyKey | None, request_hash: bytes | None) -> tuple[Column, ...]:
    middle: tuple[Column, ...] = _NO_TRANSACTION
    match entry:
        case Booked():
            kind, detail = "BOOKED", _booked_detail(entry)
            middle = (
                str(entry.transaction_id),
                "t" if entry.transaction_id_given else "f",
                entry.transaction_type.value,
                entry.instrument_id,
                str(entry.quantity),
                str(entry.price),
                str(entry.value),
                str(entry.fee),
            )
        case Opened():
            kind, detail = "OPENED", _opened_detail(entry)
        case StatusChanged():
            kind, detail = "STATUS", json.dumps({"status": entry.status.value})
        case _:
            assert_never(entry)
    return (
        str(seq),
        _FORMAT_TEXT,
        entry.portfolio_id,
        str(entry.version),
        kind,
        *middle,
        detail,
        key,
        None if request_hash is None else bytes_text(request_hash),
        _moment(entry.effective_at),
        _moment(entry.recorded_at),
    )


# The rows of a batch share few moments, and writing one takes longer than looking it up.
_moment: Final = lru_cache(maxsize=1_000)(datetime.isoformat)


_FORMAT_TEXT: Final = str(FORMAT)
_NO_TRANSACTION: Final[tuple[Column, ...]] = (None, "f", None, None, None, None, None, None)


def _booked_detail(entry: Booked) -> str | None:
    if entry.ratio is None and entry.mark is None:
        return None
    return json.dumps(
        {"ratio": entry.ratio and str(entry.ratio), "mark": None if entry.mark is None else str(entry.mark)}
    )


def _opened_detail(entry: Opened) -> str:
    return json.dumps(
        {
            "portfolio_name": entry.portfolio_name,
            "base_currency": entry.base_currency,
            "allow_short": entry.allow_short,
            "min_cash": None if entry.min_cash is None else str(entry.min_cash),
        }
    )


def decode(columns: Sequence[Any]) -> StoredRow:
    """A row of select_journal_tail or select_history. Raises Corrupt if it is of no format known."""
    seq, epoch, row_format, *rest, row_hash = columns
    if row_format != FORMAT:
        raise Corrupt(f"journal row {seq} has format {row_format}, expected {FORMAT}")
    try:
        entry, key, request_hash = _entry(rest)
    except (PortfolioError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Corrupt(f"journal row {seq} cannot be read: {error!r}") from error
    return StoredRow(seq, epoch, entry, key, request_hash, row_hash)


def rehashed(row: StoredRow, previous: bytes) -> bytes:
    """What the row's hash must be, computed anew from its content."""
    return chained(previous, _line(row.seq, row.entry, row.idempotency_key, row.request_hash))


def _entry(rest: Sequence[Any]) -> tuple[Entry, IdempotencyKey | None, bytes | None]:
    portfolio_id, version, kind, transaction_id, given, transaction_type, instrument_id = rest[:7]
    quantity, price, value, fee, detail, key, request_hash, effective_at, recorded_at = rest[7:]
    header = _Header(PortfolioId(portfolio_id), version, effective_at, recorded_at)
    entry: Entry
    if kind == "BOOKED":
        terms = detail or {}
        ratio, mark = terms.get("ratio"), terms.get("mark")
        entry = Booked(
            portfolio_id=header.portfolio_id,
            version=version,
            effective_at=effective_at,
            recorded_at=recorded_at,
            transaction_id=transaction_id,
            transaction_id_given=given,
            transaction_type=TransactionType(transaction_type),
            instrument_id=ids.shared(instrument_id),
            quantity=quantity,
            price=price,
            value=value,
            fee=fee,
            ratio=None if ratio is None else Ratio.parse(ratio),
            mark=None if mark is None else Decimal(mark),
        )
    elif kind == "OPENED":
        entry = _opened(header, detail)
    else:
        entry = StatusChanged(
            portfolio_id=header.portfolio_id,
            version=version,
            effective_at=effective_at,
            recorded_at=recorded_at,
            status=Status(detail["status"]),
        )
    return entry, None if key is None else IdempotencyKey(key), request_hash


@dataclass(frozen=True, slots=True)
class _Header:
    portfolio_id: PortfolioId
    version: int
    effective_at: datetime
    recorded_at: datetime


def _opened(header: _Header, detail: dict[str, Any]) -> Opened:
    min_cash = detail["min_cash"]
    return Opened(
        portfolio_id=header.portfolio_id,
        version=header.version,
        effective_at=header.effective_at,
        recorded_at=header.recorded_at,
        portfolio_name=detail["portfolio_name"],
        base_currency=Currency(detail["base_currency"]),
        allow_short=detail["allow_short"],
        min_cash=None if min_cash is None else money.round2(Decimal(min_cash)),
    )
