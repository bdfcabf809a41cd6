"""The figures as a table: each with its floor, their ratio and what was promised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.results import Line, Section

_HEAD = ("shows", "what", "figure", "floor", "ratio", "target", "")
_HELD = {True: "held", False: "MISSED", None: ""}


def table(sections: Iterable[Section]) -> str:
    """Every line of every section, columns aligned."""
    rows = [_HEAD, *(_row(line) for section in sections for line in section.lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_aligned(row, widths) for row in rows)


def _row(line: Line) -> tuple[str, ...]:
    return (
        str(line.shows or ""),
        line.what,
        f"{shown(line.figure)} {line.unit}",
        "" if line.floor is None else f"{line.floor_is} {shown(line.floor)}",
        "" if line.ratio is None else f"{line.ratio:.2f}",
        line.target,
        _HELD[line.is_held],
    )


def shown(figure: float) -> str:
    """A figure with three digits that say something."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
