"""The names of shards' actors and of standbys. A name is a hint where to ask; Postgres alone decides who owns a shard."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from portfolio.ids import ShardId

NAMESPACE: Final = "portfolio"
_NAME: Final = re.compile(r"shard-(\d{1,9})(?:\.(\d{1,9}))?", re.ASCII)
_STANDBY: Final = re.compile(r"standby-(\w+)\.(\d{1,9})", re.ASCII)


def actor_name(shard_id: int, generation: int = 0) -> str:
    """The name of a shard's actor: `shard-3`, and after its first move `shard-3.1`."""
    return f"shard-{shard_id}.{generation}" if generation else f"shard-{shard_id}"


def standby_name(node: str, number: int) -> str:
    """The name of a node's standby: `standby-0c1f2d3a4b5e.1`. It keeps it when it becomes a shard."""
    return f"standby-{node}.{number}"


def standbys_among(names: Iterable[str]) -> list[str]:
    """Those of `names` that were made as standbys: one may have become a shard."""
    return [name for name in names if _STANDBY.fullmatch(name)]


def standby_place(name: str) -> tuple[str, int]:
    """Node and number of a standby of that name. Raises ValueError if it is none's."""
    found = _STANDBY.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not the name of a standby")
    return found[1], int(found[2])


def node_digits(node_id: str) -> str:
    """Enough of Ray's id of a node to tell it from others, in names and in the text that names an owner."""
    return node_id[:12]


def generation_of(name: str) -> int:
    """How many moves have led to the actor of that name. Raises ValueError if it is no shard's."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not the name of a shard's actor")
    return int(found[2] or 0)


def names_of(shard_id: ShardId, names: Iterable[str]) -> list[str]:
    """Those of `names` that are of that shard's actors, the newest first: while it moves there are two."""
    found = [name for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) == shard_id]
    return sorted(found, key=generation_of, reverse=True)
