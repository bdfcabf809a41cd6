"""What a caller asks of an optimisation: its form. Whether the market and the portfolio allow it is judged later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from analytics.optimise.exact_number import ExactNumber
from portfolio import ids

INSTRUMENTS_MAX: Final = 500
GROUPS_MAX: Final = 100
WINDOW_MAX: Final = 5_000


class Objective(StrEnum):
    """What is to be least or most; docs/optimisation.md has each one's formula."""

    MINIMUM_VARIANCE = "minimum_variance"
    MEAN_VARIANCE = "mean_variance"
    MAXIMUM_SHARPE = "maximum_sharpe"
    RISK_PARITY = "risk_parity"
    MINIMUM_CVAR = "minimum_cvar"
    MAXIMUM_DIVERSIFICATION = "maximum_diversification"
    TRACKING = "tracking"


class Covariance(StrEnum):
    """How the covariance of returns is estimated."""

    SAMPLE = "sample"
    EWMA = "ewma"
    LEDOIT_WOLF = "ledoit_wolf"


class Others(StrEnum):
    """What becomes of holdings that are not among the instruments."""

    HOLD = "hold"
    SELL = "sell"


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


AnyCase = BeforeValidator(_lower)
InstrumentText = Annotated[str, Field(pattern=ids.INSTRUMENT_ID_PATTERN)]
Fraction = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
"""A weight or a sum of weights, in fractions of the portfolio's total value."""
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[ExactNumber, Field(ge=0)]
Lot = Annotated[ExactNumber, Field(gt=0)]


class Form(BaseModel):
    """A part of a request. What it does not know, it refuses: a misspelt limit must not be lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Form):
    """Least and most; null is no limit."""

    lower: Fraction | None = None
    upper: Fraction | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower:g} is above upper {self.upper:g}")
        return self


class Group(Range):
    """Limits of the sum of some instruments' weights."""

    instruments: Annotated[list[InstrumentText], Field(min_length=1, max_length=INSTRUMENTS_MAX)]


class OptimiseRequest(Form):
    """Which weights to look for, within which limits, and how to trade there.

    Weights are fractions of the portfolio's total value, shorts below 0. Returns and risks are a year's.

    - `instruments`: what may be held (default: what is held); `others` says what becomes of other holdings.
    - `expected_returns`: a year's, by instrument; those left out have the mean of the window.
    - `invested`: least and most of the sum of weights; the rest is cash.
    - `weight`: limits of every instrument; `bounds` replaces them for those it names. `long_only` puts 0 under all.
    - `leverage_max`: of the sum of absolute weights. `turnover_max`: of the sum of absolute changes of weight.
    - `cost`: of a unit of value traded; `costs` replaces it for those it names.
    - `risk_aversion` weighs variance against return and costs; `target_return` is the least expected return.
    - `benchmark` (an instrument) or `benchmark_weights`: what tracking tracks.
    - `budgets`: shares of risk for risk parity, equal where left out.
    - `lot`: what quantities are multiples of; `lots` replaces it for those it names.
    - `trade_value_min`: trades of less value are left out. `allow_overdraft`: trades may take cash below 0, where the
      portfolio has no `min_cash`.
    """

    objective: Annotated[Objective, AnyCase]
    instruments: Annotated[list[InstrumentText], Field(min_length=1, max_length=INSTRUMENTS_MAX)] | None = None
    others: Annotated[Others, AnyCase] = Others.HOLD

    window: Annotated[int, Field(ge=2, le=WINDOW_MAX)] = 252
    covariance: Annotated[Covariance, AnyCase] = Covariance.SAMPLE
    expected_returns: Annotated[dict[InstrumentText, Fraction], Field(max_length=INSTRUMENTS_MAX)] = {}
    risk_free_rate: Annotated[float, Field(gt=-1, le=10, allow_inf_nan=False)] = 0.0

    risk_aversion: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    target_return: Fraction | None = None
    confidence_level: Annotated[float, Field(ge=0.5, le=0.999, allow_inf_nan=False)] = 0.95
    budgets: Annotated[
        dict[InstrumentText, Annotated[float, Field(gt=0, le=1e6)]], Field(max_length=INSTRUMENTS_MAX)
    ] = {}
    benchmark: InstrumentText | None = None
    benchmark_weights: Annotated[dict[InstrumentText, Fraction], Field(max_length=INSTRUMENTS_MAX)] = {}

    invested: Range = Range(lower=1.0, upper=1.0)
    long_only: Annotated[bool, Field(strict=True)] = True
    weight: Range = Range()
    bounds: Annotated[dict[InstrumentText, Range], Field(max_length=INSTRUMENTS_MAX)] = {}
    groups: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Group], Field(max_length=GROUPS_MAX)
    ] = {}
    leverage_max: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    turnover_max: Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)] | None = None
    cost: Rate = 0.0
    costs: Annotated[dict[InstrumentText, Rate], Field(max_length=INSTRUMENTS_MAX)] = {}

    lot: Lot = Decimal(1)
    lots: Annotated[dict[InstrumentText, Lot], Field(max_length=INSTRUMENTS_MAX)] = {}
    trade_value_min: Amount = Decimal(0)
    allow_overdraft: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_named_once("instruments", self.instruments or ())
        for name, group in self.groups.items():
            _check_named_once(f"groups.{name}.instruments", group.instruments)
        self._check_what_is_known()
        self._check_signs()
        self._check_tracking()
        self._check_what_the_objective_takes()
        return self

    def _check_what_is_known(self) -> None:
        """What is said of instruments that are not among those named would be lost silently."""
        if self.instruments is None:
            return
        known = set(self.instruments)
        named: Mapping[str, Iterable[str]] = {
            "expected_returns": self.expected_returns,
            "budgets": self.budgets,
            "bounds": self.bounds,
            "costs": self.costs,
            **{f"groups.{name}.instruments": group.instruments for name, group in self.groups.items()},
        }
        for field, names in named.items():
            if unknown := sorted(set(names) - known):
                raise ValueError(f"{field} has {unknown[0]}, which is not in instruments")

    def _check_signs(self) -> None:
        """A short that is asked for in a long-only portfolio is a mistake that no solver need tell of."""
        for field, limits in {"weight": self.weight, **self.bounds}.items():
            if self.long_only and limits.upper is not None and limits.upper < 0:
                raise ValueError(f"{field} has an upper limit of {limits.upper:g}, but long_only is true")

    def _check_tracking(self) -> None:
        given = (self.benchmark is not None) + bool(self.benchmark_weights)
        if self.objective is Objective.TRACKING and given != 1:
            raise ValueError("tracking takes one of benchmark and benchmark_weights")
        if self.objective is not Objective.TRACKING and given:
            raise ValueError(f"benchmark and benchmark_weights are for tracking, not for {self.objective}")

    def _check_what_the_objective_takes(self) -> None:
        for field in sorted(_NOT_TAKEN.get(self.objective, frozenset()) & self.model_fields_set):
            raise ValueError(f"{self.objective} takes no {field}")
        if self.objective is Objective.RISK_PARITY and not self.long_only:
            raise ValueError("risk_parity is long only")
        if self.objective is Objective.RISK_PARITY and not (self.invested.upper and self.invested.upper > 0):
            raise ValueError("risk_parity needs an invested.upper above 0, which weights then sum to")
        if self.budgets and self.objective is not Objective.RISK_PARITY:
            raise ValueError(f"budgets are for risk_parity, not for {self.objective}")


# Risk parity has one solution, which no limit may move; diversification is a ratio that costs have no place in.
_NOT_TAKEN: Final[Mapping[Objective, frozenset[str]]] = {
    Objective.RISK_PARITY: frozenset(
        {
            "weight",
            "bounds",
            "groups",
            "leverage_max",
            "turnover_max",
            "cost",
            "costs",
            "target_return",
            "risk_aversion",
        }
    ),
    Objective.MAXIMUM_DIVERSIFICATION: frozenset({"cost", "costs", "risk_aversion"}),
    Objective.MAXIMUM_SHARPE: frozenset({"target_return", "risk_aversion"}),
    Objective.MINIMUM_CVAR: frozenset({"risk_aversion"}),
}


def _check_named_once(field: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{field} has {name} twice")
        seen.add(name)
