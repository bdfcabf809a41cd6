"""The promises that a history can break, and how a broken one is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Breach(StrEnum):
    """A promise that was not kept."""

    LOST = "lost"
    """An acknowledged update is not in the journal."""
    DOUBLED = "doubled"
    """An update is there more than once."""
    TORN = "torn"
    """An update is there in part, apart, or with other content than was asked for."""
    UNDUE = "undue"
    """An update that was refused is there, or one that nobody asked for."""
    MISTOLD = "mistold"
    """An update is there at another version than its client was told."""
    GAP = "gap"
    """A row's or a version's number is missing, repeated, or not in order."""
    CHAIN = "chain"
    """A row's hash does not follow from its content and the row before."""
    HEAD = "head"
    """The shard's record of where its journal ends differs from where it ends."""
    STRAY = "stray"
    """A row is in a shard that its portfolio does not belong to."""
    CONDITION = "condition"
    """An update was booked on another version than it was conditional on."""
    REORDERED = "reordered"
    """An update was booked before another one, or before a state, that its client had been told of when it sent it."""
    STALE = "stale"
    """An answer showed a version older than one acknowledged before it was asked for."""
    REVERTED = "reverted"
    """An answer showed a version older than one that was read before it was asked for."""
    INVENTED = "invented"
    """An answer showed a version that the journal does not have."""
    CONTENT = "content"
    """An answer showed a state that is not what the journal comes to at its version."""
    ZOMBIE = "zombie"
    """A deposed owner acted: it answered what was sent after its successor had answered, or appended after it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise, where, and the records of the calls concerned."""

    breach: Breach
    where: str
    calls: tuple[object, ...] = ()
