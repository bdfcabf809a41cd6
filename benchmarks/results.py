"""What measurements give: every round as it was, and the lines that are quoted with their floors and targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cpu_steal import CpuSteal


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One promise: a figure beside its floor. `most` and `least` bound their ratio, or the figure where there is no floor.

    A figure within `enough` is held whatever its ratio; with a figure beyond, the ratio counts only if the floor is beyond, too.
    """

    shows: int
    what: str
    figure: float
    unit: str
    floor: float | None = None
    floor_is: str = ""
    most: float | None = None
    least: float | None = None
    enough: float | None = None

    @property
    def ratio(self) -> float | None:
        """The figure in floors."""
        return self.figure / self.floor if self.floor else None

    @property
    def is_held(self) -> bool | None:
        """Whether the promise is held; None where none was made."""
        if self.enough is not None and self.figure <= self.enough:
            return True
        # What the floor can do on this machine is asked in full; the ratio is for where it cannot.
        if self.enough is not None and self.floor is not None and self.floor <= self.enough:
            return False
        judged = self.figure if self.floor is None else self.figure / self.floor
        if self.most is not None:
            return judged <= self.most
        return None if self.least is None else judged >= self.least

    @property
    def target(self) -> str:
        """The promise in words."""
        parts = [] if self.enough is None else [f"under {self.enough:g} {self.unit}"]
        measure = "times the floor" if self.floor is not None else self.unit
        if self.most is not None:
            parts.append(f"at most {self.most:g} {measure}")
        if self.least is not None:
            parts.append(f"at least {self.least:g} {measure}")
        return (", or " if self.enough is None else ", or if the floor is not, ").join(parts)


@dataclass(slots=True)
class Section:
    """One measurement. A round has the share of CPU time that others stole meanwhile, as `steal`."""

    name: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @contextmanager
    def round(self, what: str, **names: Any) -> Iterator[dict[str, Any]]:
        """A round, to be filled in by the block; `names` tell it from others."""
        found: dict[str, Any] = {"what": what, **names}
        steal = CpuSteal()
        yield found
        found["steal"] = round(steal.share(), 4)
        self.rounds.append(found)
        print(f"  {self.name}: " + ", ".join(f"{name} {_shown(value)}" for name, value in found.items()), flush=True)

    def of(self, what: str, key: str, **names: Any) -> list[Any]:
        """The values under `key` of every round of `what` with these names."""
        return [
            one[key]
            for one in self.rounds
            if one["what"] == what and all(one[name] == value for name, value in names.items())
        ]


def plain(section: Section) -> dict[str, Any]:
    """A section as JSON has it."""
    lines = [{**dataclasses.asdict(line), "ratio": line.ratio, "held": line.is_held} for line in section.lines]
    return {"name": section.name, "rounds": section.rounds, "lines": lines}


def _shown(value: Any) -> str:
    match value:
        case dict():
            return "(" + ", ".join(f"{name} {_shown(part)}" for name, part in value.items()) + ")"
        case list():
            return " ".join(map(_shown, value))
        case float():
            return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"
        case _:
            return str(value)
