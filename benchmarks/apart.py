"""Whatever starts a service does so in a process of its own: Ray and Serve read their variables once in a process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def apart(function: Callable[Parameters, Result], *given: Parameters.args, **named: Parameters.kwargs) -> Result:
    """What `function` returns, called in a new process. Raises what it raises."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *given, **named).result()
