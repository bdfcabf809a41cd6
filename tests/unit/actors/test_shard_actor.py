"""What a shard's actor says of being the owner."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import shard_actor
from actors.settings import ShardConfig
from actors.shard_actor import ShardActor
from portfolio.errors import ShardUnavailable
from portfolio.ids import ShardId
from serve_app import finding


class Recovering(ShardActor):
    """An actor that does not serve yet, without Ray and Postgres: `says` is what Postgres says."""

    def __init__(self, says: str | Exception | None, *, is_successor: bool) -> None:
        here = Path()
        self._config = ShardConfig(
            shard_id=ShardId(0),
            actor="shard-0",
            is_successor=is_successor,
            postgres_dsn="",
            redis_url="",
            link_secret=b"",
            socket_dir=here,
            log_dir=here,
        )
        self._serving = asyncio.Event()
        self._shard: Any = SimpleNamespace(has_let_go=False)
        self._journal: Any = SimpleNamespace(designated=lambda: _answer(says))


async def _answer(says: str | Exception | None) -> str | None:
    if isinstance(says, TimeoutError):
        await asyncio.sleep(60)
    if isinstance(says, Exception):
        raise says
    return says


AWAY = ShardUnavailable("Postgres does not answer")
SILENT = TimeoutError()


@pytest.mark.parametrize(
    ("says", "is_successor", "is_owner"),
    [
        ("shard-0", True, True),
        ("shard-0.1", False, False),
        (AWAY, False, True),
        (AWAY, True, False),
        (SILENT, False, True),
        (SILENT, True, False),
        (None, False, True),
    ],
)
async def test_only_a_successor_needs_a_word_for_it(
    says: str | Exception | None, is_successor: bool, is_owner: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_actor, "_MEANT_S", 0.05)
    async with asyncio.timeout(10):
        assert await Recovering(says, is_successor=is_successor).is_owner(0) == is_owner


def test_the_answer_comes_while_whoever_asked_still_waits() -> None:
    assert shard_actor._MEANT_S < finding._ASK_TIMEOUT_S
