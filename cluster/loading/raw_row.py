"""One row of a file as it is written, and how what is wrong with its form is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from cluster.loading.report import Problem

_SHOWN_MAX: Final = 80
_ID_LENGTH_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as the file has it: its line, the cells that are not empty, and what is wrong with its shape."""

    line: int
    cells: Mapping[str, str]
    misshapen: str | None = None

    def problem(self, field: str | None, reason: str) -> Problem:
        """What is wrong with the row, or with one of its fields."""
        # Longer than any id can be, so that only what is no id is cut.
        portfolio_id = self.cells.get("portfolio_id", "")[: _ID_LENGTH_MAX + 1]
        return Problem(portfolio_id=portfolio_id or None, line=self.line, field=field, reason=reason)

    def form_problems(self, error: ValidationError) -> list[Problem]:
        """Everything that is wrong with the row's form."""
        return [self._form_problem(found) for found in error.errors(include_url=False, include_context=False)]

    def _form_problem(self, error: Any) -> Problem:
        field = str(error["loc"][0]) if error["loc"] else None
        message = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "missing":
            return self.problem(field, f"{field} is empty")
        return self.problem(field, f"{field} is {self.cells.get(field or '', '')[:_SHOWN_MAX]!r}, {message}")
