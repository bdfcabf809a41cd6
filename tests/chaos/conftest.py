"""What the chaos tests share: a seed, the same on every run unless another is given. `make chaos` draws its own."""

from __future__ import annotations

import os
from typing import Final

import pytest

SEED_VARIABLE: Final = "CHAOS_SEED"
_SEED: Final = "2"


@pytest.fixture
def chaos_seed(capsys: pytest.CaptureFixture[str]) -> int:
    """The seed of CHAOS_SEED, else the usual one; printed, because a failure is of use only with it."""
    seed = int(os.environ.get(SEED_VARIABLE) or _SEED)
    with capsys.disabled():
        print(f"\n{SEED_VARIABLE}={seed}")  # noqa: T201 - before anything can fail
    return seed
