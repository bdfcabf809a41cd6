"""Brings back shards that nobody else brings back: those whose actor is gone for good.

Ray restarts an actor whose process or node died. It does not if the actor was ended on purpose, or if the node died with
the head's memory of it. What Ray says is a hint, so the row in Postgres has to agree: an owner that lives proves it there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from actors.names import actor_name
from persistence.signs_of_life import SignOfLife
from portfolio.ids import ShardId

_log = logging.getLogger(__name__)
SILENCE_LEASES: Final = 2
PERIOD_S: Final = 1.0
_END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _LastSign:
    sign: SignOfLife
    since: float


class Vigil:
    """What the rows of `shards` have shown over time, on the watcher's own monotonic clock.

    A lease of 3 s: a shard whose actor is missing and whose row was the same at every look for 6 s is lost.
    """

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._last: dict[ShardId, _LastSign] = {}

    def silent(self, signs: Iterable[SignOfLife], now: float) -> list[ShardId]:
        """The shards without a sign of life for long enough. Each look takes what every row shows now."""
        self._last = {sign.shard_id: self._seen(sign, now) for sign in signs}
        return [shard_id for shard_id, last in self._last.items() if now - last.since >= self._silence_s]

    def _seen(self, sign: SignOfLife, now: float) -> _LastSign:
        before = self._last.get(sign.shard_id)
        return before if before is not None and before.sign == sign else _LastSign(sign, now)

    def forget(self, shard_id: ShardId | None = None) -> None:
        """Begin anew with a shard that has just been placed; with all of them (None) after a time without sight."""
        if shard_id is None:
            self._last.clear()
        else:
            self._last.pop(shard_id, None)


class ShardWatch:
    """Looks every second, from a thread of its own, since Ray and Postgres may take their time to answer."""

    def __init__(
        self,
        *,
        look: Callable[[], Iterable[SignOfLife]],
        actors: Callable[[], Collection[str]],
        place: Callable[[ShardId, str], None],
        silence_s: float,
        see_to_standbys: Callable[[Collection[str], Collection[str]], None] = lambda alive, owners: None,
    ) -> None:
        """`look` reads the rows, `actors` names the actors that live or are being restarted, `place` makes a missing one.

        `see_to_standbys` is told the actors that live, and those that are meant to own shards.
        """
        self._look = look
        self._actors = actors
        self._place = place
        self._see_to_standbys = see_to_standbys
        self._vigil = Vigil(silence_s)
        self._ended = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meanwhile lost shards are placed anew."""
        thread = threading.Thread(target=self._watch, name="shard-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(_END_S)

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD_S):
            try:
                self.look_once()
            except Exception as error:  # noqa: BLE001 - whatever Ray or Postgres has, it may be over in a second.
                _log.info("shards cannot be looked at: %s", error)
                # What a row did meanwhile was not seen.
                self._vigil.forget()

    def look_once(self) -> None:
        """Place what is lost now."""
        signs = list(self._look())
        alive = self._actors()
        wanted = {sign.shard_id: sign.actor or actor_name(sign.shard_id) for sign in signs}
        for shard_id in self._vigil.silent(signs, time.monotonic()):
            # A service that is stopping has ended its shards itself.
            if wanted[shard_id] not in alive and not self._ended.is_set():
                _log.warning("shard %s has neither actor nor owner: it is placed anew", shard_id)
                self._place(shard_id, wanted[shard_id])
                self._vigil.forget(shard_id)
        if not self._ended.is_set():
            self._see_to_standbys(alive, wanted.values())
