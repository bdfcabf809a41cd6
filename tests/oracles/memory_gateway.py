"""The service in memory: a gateway built on the core, whose answers can be made to fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from itertools import chain, repeat
from uuid import UUID

from actors.gateway import MarkCounts
from actors.protocol import Answer, Fault, UpdateOutcome
from portfolio.book import Book, Mark
from portfolio.commands import ChangeStatus, Command, OpenPortfolio, UpdatePortfolio, request_hash
from portfolio.decide import decide
from portfolio.entries import Booked, Entry
from portfolio.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    OutcomeUnknown,
    Overloaded,
    PortfolioError,
    ShardUnavailable,
)
from portfolio.ids import InstrumentId, PortfolioId
from tests.oracles.builders import NOW


class Mishap(Enum):
    """What happens to one command on its way."""

    NONE = auto()
    OVERLOADED = auto()
    UNAVAILABLE = auto()
    LOST_BEFORE = auto()
    """The outcome is unknown, and the command was not booked."""
    LOST_AFTER = auto()
    """The outcome is unknown, and the command was booked."""
    CRASH = auto()
    """The loading process dies, after the command was booked."""


class CrashError(BaseException):
    """The end of the process that loads: like a kill, nothing catches it."""


class MemoryGateway:
    """Decides, books and remembers keys as a shard does. `mishaps` are met by the commands, one each, in order."""

    def __init__(self, mishaps: Iterable[Mishap] = (), *, now: datetime = NOW) -> None:
        self.books: dict[PortfolioId, Book] = {}
        self.entries: list[Entry] = []
        self.marks: dict[InstrumentId, Mark] = {}
        self.calls: Counter[str] = Counter()
        self.largest_call = 0
        self._keys: dict[tuple[PortfolioId, str], bytes] = {}
        self._transaction_ids: set[UUID] = set()
        self._now = now
        self.meet(mishaps)

    def meet(self, mishaps: Iterable[Mishap]) -> None:
        """From now on these happen to the commands; then none any more."""
        self._mishaps = chain(mishaps, repeat(Mishap.NONE))

    async def write(self, command: OpenPortfolio | UpdatePortfolio | ChangeStatus) -> Answer:
        self.calls["write"] += 1
        return Answer(replayed=self._meet(command))

    async def update_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        self.calls["update_many"] += 1
        self.largest_call = max(self.largest_call, sum(len(command.transactions) for command in commands))
        assert 1 <= len(commands) <= 1_000
        return [self._outcome(command) for command in commands]

    async def book(self, portfolio_id: PortfolioId) -> Book | None:
        self.calls["book"] += 1
        return self.books.get(portfolio_id)

    async def known_keys(self, portfolio_id: PortfolioId, keys: Sequence[str]) -> frozenset[str]:
        self.calls["known_keys"] += 1
        return frozenset(key for key in keys if (portfolio_id, key) in self._keys)

    async def update_marks(self, marks: Mapping[InstrumentId, Mark]) -> MarkCounts:
        self.calls["update_marks"] += 1
        self.marks |= marks
        return MarkCounts(len(marks), 0)

    def _outcome(self, command: UpdatePortfolio) -> UpdateOutcome:
        try:
            replayed = self._meet(command)
        except PortfolioError as error:
            return UpdateOutcome(command.portfolio_id, fault=Fault.of(error))
        return UpdateOutcome(command.portfolio_id, self.books[command.portfolio_id].version, replayed)

    def _meet(self, command: Command) -> bool:
        match next(self._mishaps):
            case Mishap.OVERLOADED:
                raise Overloaded("too much to do", limit=1)
            case Mishap.UNAVAILABLE:
                raise ShardUnavailable("the shard is away")
            case Mishap.LOST_BEFORE:
                raise OutcomeUnknown("no answer came")
            case Mishap.LOST_AFTER:
                self.execute(command)
                raise OutcomeUnknown("no answer came")
            case Mishap.CRASH:
                self.execute(command)
                raise CrashError
            case Mishap.NONE:
                return self.execute(command)

    def execute(self, command: Command) -> bool:
        """Book a command; whether it was booked before. Raises what a shard would."""
        key = (command.portfolio_id, command.idempotency_key or "")
        if command.idempotency_key is not None and key in self._keys:
            if self._keys[key] != request_hash(command):
                raise IdempotencyKeyReused(f"idempotency key {key[1]!r} was used for another request")
            return True
        decision = decide(self.books.get(command.portfolio_id), command, now=self._now, marks=self.marks)
        given = [
            entry.transaction_id
            for entry in decision.entries
            if isinstance(entry, Booked) and entry.transaction_id_given
        ]
        if len(set(given)) < len(given) or not self._transaction_ids.isdisjoint(given):
            raise InvalidRequest("a transaction_id is booked already", field="transaction_id").at(0)
        self._transaction_ids.update(given)
        self.books[command.portfolio_id] = decision.book
        self.entries.extend(decision.entries)
        if command.idempotency_key is not None:
            self._keys[key] = request_hash(command)
        return False
