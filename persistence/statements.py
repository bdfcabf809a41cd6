"""The named statements of statements.sql, each with the reason it exists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, LiteralString

_HEADING: Final = re.compile(r"^-- name: (\w+)\n((?:-- .*\n)+)", re.MULTILINE)


def _load() -> Mapping[str, LiteralString]:
    text = files("persistence").joinpath("statements.sql").read_text(encoding="utf-8")
    headings = list(_HEADING.finditer(text))
    assert len({heading[1] for heading in headings}) == len(headings), "two statements have one name"
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    # The file is part of the program, so its statements are as good as literals; values are always bound.
    return {
        heading[1]: text[heading.end() : end].strip().removesuffix(";")
        for heading, end in zip(headings, ends, strict=True)
    }


SQL: Final = _load()
