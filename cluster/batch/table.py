"""PortfolioAnalytics as the rows of a table: a column for each figure, made from the document's own definition.

`risk.value_at_risk.historical` at 95 % is the column `risk_value_at_risk_historical_95`. What a portfolio has many of stays
together in one column of lists: `contributions`, `stress`, `instruments`, and `unavailable` with the pairs of figure and
reason. The conventions are the same for every row, and so are not in the rows.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
import polars as pl

from analytics.conventions import CONFIDENCE_LEVELS, level_name
from analytics.document import PortfolioAnalytics
from portfolio.ids import PortfolioId

EVERYTHING: Final = "*"
"""The figure that is unavailable where no figure is."""
_LEFT_OUT: Final = "conventions"
_PAIRED: Final = "unavailable"
_LEVELS: Final = {level_name(level): f"{level * 100:g}" for level in CONFIDENCE_LEVELS}
_PLAIN: Final[Mapping[type, pl.DataType]] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    date: pl.Date(),
    datetime: pl.Datetime("us", "UTC"),
}


def rows(documents: Iterable[PortfolioAnalytics], quarantined: Mapping[PortfolioId, str]) -> pl.DataFrame:
    """A row for each document; and for each portfolio in quarantine, whose figures are all null."""
    found = [dict(_cells("", _plain(document))) for document in documents]
    found += [
        {"portfolio_id": portfolio_id, "unavailable": [{"figure": EVERYTHING, "reason": f"in quarantine: {reason}"}]}
        for portfolio_id, reason in quarantined.items()
    ]
    return pl.from_dicts(found, schema=SCHEMA)


def _plain(document: PortfolioAnalytics) -> dict[str, Any]:
    """The document as dicts and lists, with pairs for what is unavailable."""
    plain: dict[str, Any] = msgspec.to_builtins(document, builtin_types=(date, datetime))
    del plain[_LEFT_OUT]
    plain["contributions"] = [_by_level(one) for one in plain["contributions"]]
    plain[_PAIRED] = [{"figure": figure, "reason": reason} for figure, reason in plain[_PAIRED].items()]
    return plain


def _by_level(part: Mapping[str, Any]) -> dict[str, Any]:
    """With levels named as in columns, in which a dot would separate names."""
    return {
        name: {_LEVELS[level]: loss for level, loss in value.items()} if isinstance(value, dict) else value
        for name, value in part.items()
    }


def _cells(prefix: str, part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in part.items():
        column = prefix + _LEVELS.get(name, name)
        if isinstance(value, dict):
            yield from _cells(f"{column}_", value)
        else:
            yield column, value


def _columns(prefix: str, kind: Any) -> Iterator[tuple[str, pl.DataType]]:
    """What `_cells` gives a value for."""
    for name, hint in get_type_hints(kind).items():
        column, inner = prefix + name, _without_none(hint)
        if column == _PAIRED:
            yield column, pl.List(pl.Struct({"figure": pl.String(), "reason": pl.String()}))
        elif get_origin(inner) is dict:
            yield from ((f"{column}_{level}", pl.Float64()) for level in _LEVELS.values())
        elif dataclasses.is_dataclass(inner):
            if column != _LEFT_OUT:
                yield from _columns(f"{column}_", inner)
        else:
            yield column, _type(inner)


def _type(hint: Any) -> pl.DataType:
    if get_origin(hint) is dict:
        return pl.Struct(dict.fromkeys(_LEVELS.values(), pl.Float64()))
    if get_origin(hint) is not list:
        return _PLAIN[hint]
    (item,) = get_args(hint)
    return pl.List(pl.Struct({name: _type(_without_none(inner)) for name, inner in get_type_hints(item).items()}))


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is not types.UnionType:
        return hint
    (only,) = (kind for kind in get_args(hint) if kind is not types.NoneType)
    return only


SCHEMA: Final = pl.Schema(dict(_columns("", PortfolioAnalytics)))
