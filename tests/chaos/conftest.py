"""What the chaos tests share: a seed that is printed, because a failure is of use only with it."""

from __future__ import annotations

import os
import random
from typing import Final

import pytest

SEED_VARIABLE: Final = "CHAOS_SEED"


@pytest.fixture
def chaos_seed(capsys: pytest.CaptureFixture[str]) -> int:
    """The seed of CHAOS_SEED, else one at random."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    with capsys.disabled():
        print(f"\n{SEED_VARIABLE}={seed}")  # noqa: T201 - before anything can fail
    return seed
