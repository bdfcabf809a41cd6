"""What an optimisation answers: target weights, the trades that lead there, and how far the solver can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import WithJsonSchema

from analytics.document import WindowDocument
from analytics.optimise.request import Covariance, Objective
from portfolio.transactions import TransactionType

Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]


class SolveStatus(StrEnum):
    """How a solver ended."""

    SOLVED = "solved"
    INACCURATE = "inaccurate"
    """The residuals are above 1e-8 and at most 1e-5: good enough to trade on, not to compare solvers with."""
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    NO_EXCESS_RETURN = "no_excess_return"
    """Maximum Sharpe: within the limits no portfolio is expected to return more than the risk-free rate."""
    ITERATION_LIMIT = "iteration_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverReport:
    """Residuals are relative, as docs/optimisation.md defines them.

    `conflict` names the limits that exclude each other where the status is infeasible, `binding` those that hold the
    solution where it is: in words, such as "group tech <= 0.1". Of risk parity, `conflict` also names instruments whose
    price never moved: "risk of KO > 0".
    """

    status: SolveStatus
    iterations: int
    primal_residual: float | None
    dual_residual: float | None
    gap: float | None
    binding: list[str]
    conflict: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateConventions:
    """How returns and risks were estimated; docs/optimisation.md has the formulas. The decay is that of `ewma` alone."""

    periods_per_year: int
    ddof: int
    risk_free_rate: float
    returns: str
    covariance: Covariance
    ewma_decay: float
    expected_returns: str
    confidence_level: float
    conditional_value_at_risk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedTrade:
    """A transaction ready to be posted as part of an update (PositionUpdate)."""

    instrument_id: str
    quantity_change: Number
    price: Number
    transaction_type: TransactionType


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiseAnswer:
    """`weights` are what was found to be best, `achieved_weights` what the trades lead to, in whole lots.

    Both are fractions of the total value, of every instrument that may be held, and of other holdings. Where nothing was
    found, weights and figures are null and there are no trades. `expected_return` and `volatility` are a year's, of
    `weights`; `objective_value` is what docs/optimisation.md defines for each objective. Returns and risks are estimated from
    the `observations` days of `window` on which all instruments have a return.
    """

    portfolio_id: str
    version: int
    as_of: datetime
    window: WindowDocument
    observations: int
    conventions: EstimateConventions
    objective: Objective
    status: SolveStatus
    weights: dict[str, float] | None
    achieved_weights: dict[str, float] | None
    trades: list[ProposedTrade]
    cash_after: Number | None
    objective_value: float | None
    expected_return: float | None
    volatility: float | None
    solver: SolverReport
