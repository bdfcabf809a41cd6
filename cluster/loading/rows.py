"""One row of a file as a transaction: its form, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError

from cluster.loading.columns import Columns
from cluster.loading.raw_row import RawRow
from cluster.loading.report import Problem
from portfolio import ids
from portfolio.errors import InvalidRequest
from portfolio.ids import PortfolioId
from portfolio.transactions import Transaction
from serve_app.schemas import Moment, Number, PortfolioIdText, PositionUpdate

_NOTHING: Final[Mapping[str, Any]] = {}
_FLAGS: Final = {"true": True, "false": False}


def _flag(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise ValueError("expected true or false")


class FileRow(PositionUpdate):
    """A transaction as REST takes it, its portfolio, and how to open that portfolio if it does not exist yet."""

    portfolio_id: PortfolioIdText
    timestamp: Moment | None = None
    portfolio_name: Annotated[str, Field(min_length=1, max_length=ids.NAME_LENGTH_MAX)] | None = None
    base_currency: Annotated[str, Field(pattern=ids.CURRENCY_PATTERN)] | None = None
    allow_short: Annotated[bool, BeforeValidator(_flag)] | None = None
    min_cash: Number | None = None


COLUMNS: Final = Columns(
    known=tuple(FileRow.model_fields),
    required=("portfolio_id", "instrument_id", "quantity_change", "price", "transaction_type"),
    numbers=frozenset({"quantity_change", "price", "fee", "min_cash"}),
    moments=frozenset({"timestamp"}),
)
OPENING_COLUMNS: Final = ("portfolio_name", "base_currency", "allow_short", "min_cash")


@dataclass(frozen=True, slots=True)
class Item:
    """A row that has the right form. `opening` holds what it says about how to open its portfolio."""

    line: int
    portfolio_id: PortfolioId
    effective_at: datetime | None
    transaction: Transaction
    opening: Mapping[str, Any]


def read_row(row: RawRow) -> Item | list[Problem]:
    """The row as an item, or everything that is wrong with its form."""
    if row.misshapen is not None:
        return [row.problem(None, row.misshapen)]
    try:
        form = FileRow.model_validate(row.cells)
        return Item(row.line, PortfolioId(form.portfolio_id), form.timestamp, form.transaction(), _opening(form))
    except ValidationError as error:
        return row.form_problems(error)
    except InvalidRequest as error:
        return [row.problem(str(error.cause.get("field")), error.detail)]


def _opening(form: FileRow) -> Mapping[str, Any]:
    given: dict[str, Any] = {name: getattr(form, name) for name in OPENING_COLUMNS if name in form.model_fields_set}
    return given or _NOTHING
