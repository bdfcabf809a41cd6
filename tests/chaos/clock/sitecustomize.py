"""A wall clock that jumps, for the processes of a service under test: Python imports this module by itself.

With its folder on PYTHONPATH and CHAOS_CLOCK_FILE set, `datetime.now()` of the modules below is off by the seconds that
the file holds. Without either, without the file, or with an empty one, nothing changes. Postgres, the API replicas and
every monotonic clock go on as they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime as real_datetime
from datetime import timedelta, tzinfo
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

CONTROL_VARIABLE = "CHAOS_CLOCK_FILE"
MODULES = frozenset({"actors.writer", "actors.publisher"})
"""Every module of a shard that asks for the time of day; a test holds this against the code."""


class _KindOfDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, real_datetime)


class JumpingDatetime(real_datetime, metaclass=_KindOfDatetime):
    """`datetime`, but for what time it is now."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """The present moment as a clock tells it that is off."""
        return real_datetime.now(tz) + offset()


def offset() -> timedelta:
    """How far the clock is off, now."""
    with suppress(KeyError, OSError, ValueError):
        return timedelta(seconds=float(Path(os.environ[CONTROL_VARIABLE]).read_text(encoding="ascii")))
    return timedelta(0)


class _JumpingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        vars(module)["datetime"] = JumpingDatetime


class JumpingFinder(MetaPathFinder):
    """Gives those modules, once they are imported, a clock that jumps."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _JumpingLoader(fullname, spec.origin)
        return spec


if CONTROL_VARIABLE in os.environ:
    sys.meta_path.insert(0, JumpingFinder())
