"""What callers send: the form of each request. What it means is the core's to judge."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from analytics.document import WINDOW_DEFAULT, WINDOW_MAX, WINDOW_MIN, AnalysisTerms
from analytics.sql.format import Format
from portfolio import ids, money
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.decide import TRANSACTIONS_MAX
from portfolio.errors import InvalidRequest, PortfolioError
from portfolio.ids import Currency, IdempotencyKey, InstrumentId, PortfolioId
from portfolio.status import Status
from portfolio.transactions import CASH_ENTRIES, Ratio, Transaction, TransactionType

UPDATES_MAX: Final = 1_000
MARKS_MAX: Final = 10_000
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?", re.ASCII)
_ONE: Final = Decimal(1)
_NUMBER_SCHEMA: Final = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,4})?$"},
    ]
}


def _number(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    raise ValueError("expected a number, or a text with one")


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("expected a time like 2025-06-21T10:00:00.000000Z")
    moment = datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error


_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

Number = Annotated[Decimal, BeforeValidator(_number), WithJsonSchema(_NUMBER_SCHEMA)]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
PortfolioIdText = Annotated[str, Field(pattern=ids.PORTFOLIO_ID_PATTERN)]
InstrumentIdText = Annotated[str, Field(pattern=ids.INSTRUMENT_ID_PATTERN)]
AnyCase = BeforeValidator(_upper)


class Wire(BaseModel):
    """A request, or a part of one. What it does not know, it refuses: a misspelt field must not be lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PortfolioOpening(Wire):
    """A portfolio to open."""

    portfolio_id: PortfolioIdText
    portfolio_name: Annotated[str, Field(min_length=1, max_length=ids.NAME_LENGTH_MAX)] | None = None
    base_currency: Annotated[str, Field(pattern=ids.CURRENCY_PATTERN)] = "USD"
    cash_balance: Number = money.ZERO_2
    allow_short: Annotated[bool, Field(strict=True)] = True
    min_cash: Number | None = None

    def command(self, key: IdempotencyKey | None) -> OpenPortfolio:
        """What the core is asked to do."""
        return OpenPortfolio(
            portfolio_id=PortfolioId(self.portfolio_id),
            portfolio_name=self.portfolio_name if self.portfolio_name is not None else self.portfolio_id,
            base_currency=Currency(self.base_currency),
            cash_balance=self.cash_balance,
            allow_short=self.allow_short,
            min_cash=self.min_cash,
            idempotency_key=key,
        )


class PositionUpdate(Wire):
    """One transaction. `price` is 1 where left out of a cash entry, else 0; `ratio` is "new:old" of a split."""

    instrument_id: InstrumentIdText
    quantity_change: Number = money.ZERO_8
    price: Number | None = None
    transaction_type: Annotated[TransactionType, AnyCase]
    fee: Number = money.ZERO_2
    ratio: Annotated[str, Field(pattern=r"^\d{1,7}:\d{1,7}$")] | None = None
    transaction_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})] | None = None

    def transaction(self) -> Transaction:
        """What the core is asked to book. Raises InvalidRequest."""
        price = self.price
        if price is None:
            price = _ONE if self.transaction_type in CASH_ENTRIES else money.ZERO_8
        return Transaction(
            transaction_type=self.transaction_type,
            instrument_id=InstrumentId(self.instrument_id),
            quantity=self.quantity_change,
            price=price,
            fee=self.fee,
            ratio=Ratio.parse(self.ratio) if self.ratio is not None else None,
            transaction_id=ids.transaction_id(self.transaction_id) if self.transaction_id is not None else None,
        )


class PortfolioUpdate(Wire):
    """Transactions of one portfolio, booked in order, all or none. `portfolio_id` may be left out where the path has it.

    `timestamp` is when they took effect; left out, that is when they are booked.
    """

    portfolio_id: PortfolioIdText | None = None
    updates: Annotated[list[PositionUpdate], Field(min_length=1, max_length=TRANSACTIONS_MAX)]
    timestamp: Moment | None = None

    def command(
        self, portfolio_id: PortfolioId, key: IdempotencyKey | None, expected_version: int | None
    ) -> UpdatePortfolio:
        """What the core is asked to do. Raises InvalidRequest, with the index of the transaction."""
        if self.portfolio_id is not None and self.portfolio_id != portfolio_id:
            raise InvalidRequest(
                f"portfolio_id is {self.portfolio_id!r}, expected {portfolio_id!r} as in the path", field="portfolio_id"
            )
        return UpdatePortfolio(
            portfolio_id=portfolio_id,
            transactions=tuple(_transaction(index, update) for index, update in enumerate(self.updates)),
            effective_at=self.timestamp,
            idempotency_key=key,
            expected_version=expected_version,
        )


def _transaction(index: int, update: PositionUpdate) -> Transaction:
    try:
        return update.transaction()
    except PortfolioError as error:
        raise error.at(index) from None


class KeyedUpdate(PortfolioUpdate):
    """One update of a batch."""

    portfolio_id: PortfolioIdText
    idempotency_key: Annotated[str, Field(min_length=1, max_length=ids.IDEMPOTENCY_KEY_LENGTH_MAX)] | None = None

    def keyed_command(self) -> UpdatePortfolio:
        """What the core is asked to do. Raises InvalidRequest."""
        key = ids.idempotency_key(self.idempotency_key) if self.idempotency_key is not None else None
        return self.command(PortfolioId(self.portfolio_id), key, None)


class UpdateBatch(Wire):
    """Updates of any portfolios, each a unit of its own."""

    updates: Annotated[list[KeyedUpdate], Field(min_length=1, max_length=UPDATES_MAX)]


class StatusChange(Wire):
    """The status that a portfolio is to have."""

    status: Annotated[Status, AnyCase]

    def command(
        self, portfolio_id: PortfolioId, key: IdempotencyKey | None, expected_version: int | None
    ) -> ChangeStatus:
        """What the core is asked to do."""
        return ChangeStatus(
            portfolio_id=portfolio_id, status=self.status, idempotency_key=key, expected_version=expected_version
        )


class AnalysisQuery(Wire):
    """How a portfolio is to be analysed."""

    window: Annotated[int, Field(ge=WINDOW_MIN, le=WINDOW_MAX, description="How many daily returns are looked at.")] = (
        WINDOW_DEFAULT
    )
    benchmark: Annotated[
        InstrumentIdText | None, Field(description="The instrument to compare with; default: the service's.")
    ] = None
    risk_free_rate: Annotated[float, Field(gt=-1, le=10, allow_inf_nan=False, description="A year's.")] = 0.0

    def terms(self, usual: AnalysisTerms) -> AnalysisTerms:
        """The same, with the service's benchmark where none is named."""
        return AnalysisTerms(
            window=self.window, benchmark=self.benchmark or usual.benchmark, risk_free_rate=self.risk_free_rate
        )


class MarkUpdate(Wire):
    """A market price per unit, and the moment it holds from (default: now)."""

    instrument_id: InstrumentIdText
    price: Number
    as_of: Moment | None = None


class MarkBatch(Wire):
    """Market prices; of several for one instrument, the newest counts."""

    marks: Annotated[list[MarkUpdate], Field(min_length=1, max_length=MARKS_MAX)]


class Query(Wire):
    """A query in SQL. `format` is that of the answer; left out, the Accept header says."""

    sql: Annotated[str, Field(min_length=1)]
    format: Annotated[Format, BeforeValidator(_lower)] | None = None


class MarkReport(BaseModel):
    """How many marks were newer than those known, and how many were not."""

    accepted: int
    stale: int


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"
