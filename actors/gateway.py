"""The whole cluster behind one face: each request goes to the shard that owns its portfolio."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from actors.documents import SummaryDocument
from actors.protocol import (
    Answer,
    BooksQuestion,
    Fault,
    KeysQuestion,
    Method,
    PageQuestion,
    PortfolioQuestion,
    UpdateOutcome,
    pack,
)
from actors.shard import ShardStatus
from portfolio import money
from portfolio.book import Book, Mark
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.errors import PortfolioError, PortfolioNotFound, ShardUnavailable
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.sharding import shard_of
from portfolio.status import Status

_METHODS: Final = {
    OpenPortfolio: Method.OPEN,
    UpdatePortfolio: Method.UPDATE,
    ChangeStatus: Method.STATUS,
}
_OUTCOMES: Final = msgspec.msgpack.Decoder(list[UpdateOutcome])
_SUMMARIES: Final = msgspec.json.Decoder(list[SummaryDocument])
_STATUSES: Final = msgspec.msgpack.Decoder(ShardStatus)
_BOOKS: Final = msgspec.msgpack.Decoder(Book)
_BOOK_LISTS: Final = msgspec.msgpack.Decoder(list[Book])
_TEXTS: Final = msgspec.msgpack.Decoder(list[str])


class ShardCaller(Protocol):
    """A way to shards: links, or actor handles."""

    async def call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        """The answer of the shard's owner. Raises whatever error it carries."""


@dataclass(frozen=True, slots=True)
class MarkCounts:
    """What became of marks: those that were newer than the ones known, and those that were not."""

    accepted: int
    stale: int


class Gateway:
    """What the service offers, wherever each portfolio lives."""

    def __init__(self, caller: ShardCaller, shard_count: int) -> None:
        self._caller = caller
        self.shard_count = shard_count

    async def write(self, command: OpenPortfolio | UpdatePortfolio | ChangeStatus) -> Answer:
        """Book one command; the body is the state after it."""
        return await self._ask(command.portfolio_id, _METHODS[type(command)], command)

    async def state(self, portfolio_id: PortfolioId, if_none_match: str | None = None) -> Answer:
        """The state of a portfolio; no body if its entity tag is `if_none_match`."""
        return await self._ask(portfolio_id, Method.STATE, PortfolioQuestion(portfolio_id, if_none_match))

    async def positions(self, portfolio_id: PortfolioId, if_none_match: str | None = None) -> Answer:
        """The positions of a portfolio; no body if its entity tag is `if_none_match`."""
        return await self._ask(portfolio_id, Method.POSITIONS, PortfolioQuestion(portfolio_id, if_none_match))

    async def book(self, portfolio_id: PortfolioId) -> Book | None:
        """The committed book itself, for callers that compute with it; None if there is none."""
        try:
            answer = await self._ask(portfolio_id, Method.BOOK, PortfolioQuestion(portfolio_id))
        except PortfolioNotFound:
            return None
        return _BOOKS.decode(answer.body or b"")

    async def books(self, shard_id: ShardId, after: str, limit: int) -> list[Book]:
        """Some committed books of one shard whose ids follow `after`, ordered by id; none only at the end."""
        answer = await self._caller.call(shard_id, Method.BOOKS, pack(BooksQuestion(after, limit)))
        return _BOOK_LISTS.decode(answer.body or b"\x90")

    async def known_keys(self, portfolio_id: PortfolioId, keys: Sequence[str]) -> frozenset[str]:
        """Which of these idempotency keys the portfolio has seen."""
        answer = await self._ask(portfolio_id, Method.KNOWN_KEYS, KeysQuestion(portfolio_id, list(keys)))
        return frozenset(_TEXTS.decode(answer.body or b""))

    async def _ask(self, portfolio_id: PortfolioId, method: Method, payload: object) -> Answer:
        return await self._caller.call(shard_of(portfolio_id, self.shard_count), method, pack(payload))

    async def update_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        """Book updates of any portfolios, each a unit of its own; outcomes in the order asked.

        Updates of one portfolio are booked in the order given.
        """
        by_shard: dict[ShardId, list[int]] = defaultdict(list)
        for index, command in enumerate(commands):
            by_shard[shard_of(command.portfolio_id, self.shard_count)].append(index)
        outcomes: dict[int, UpdateOutcome] = {}
        answers = await asyncio.gather(
            *(self._update_shard(shard_id, [commands[i] for i in indexes]) for shard_id, indexes in by_shard.items())
        )
        for indexes, answered in zip(by_shard.values(), answers, strict=True):
            outcomes.update(zip(indexes, answered, strict=True))
        return [outcomes[index] for index in range(len(commands))]

    async def _update_shard(self, shard_id: ShardId, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        try:
            answer = await self._caller.call(shard_id, Method.UPDATE_MANY, pack(commands))
        except PortfolioError as error:
            return [UpdateOutcome(command.portfolio_id, fault=Fault.of(error)) for command in commands]
        return _OUTCOMES.decode(answer.body or b"")

    async def page(self, after: str, limit: int, status: Status | None) -> list[SummaryDocument]:
        """At most `limit` portfolios of the whole cluster whose ids follow `after`, ordered by id."""
        question = pack(PageQuestion(after, limit, status))
        answers = await self._ask_all(Method.PAGE, question)
        pages = [_SUMMARIES.decode(answer.body or b"[]") for answer in answers]
        merged = heapq.merge(*pages, key=lambda summary: summary.portfolio_id)
        return [summary for summary, _ in zip(merged, range(limit), strict=False)]

    async def update_marks(self, marks: Mapping[InstrumentId, Mark]) -> MarkCounts:
        """Record market marks, then show them to every shard. When it returns they are durable.

        A shard that cannot be told now finds them by itself: when it recovers, or when it next looks.
        Raises InvalidRequest for a price that has too many digits.
        """
        if not marks:
            return MarkCounts(0, 0)
        # At their own scale, as the database gives them back: a state must read the same after a restart.
        told = pack({name: Mark(_mark_price(mark.price), mark.time) for name, mark in marks.items()})
        recorded = await self._caller.call(self._recorder(marks), Method.RECORD_MARKS, told)
        accepted = len(_TEXTS.decode(recorded.body or b""))
        await self._ask_all(Method.SHOW_MARKS, told, is_failure_fatal=False)
        return MarkCounts(accepted, len(marks) - accepted)

    def _recorder(self, marks: Mapping[InstrumentId, Mark]) -> ShardId:
        # Any shard can record; spreading by the first instrument shares the work and stays the same on a retry.
        return shard_of(PortfolioId(next(iter(marks))), self.shard_count)

    async def _ask_all(self, method: Method, payload: bytes, *, is_failure_fatal: bool = True) -> list[Answer]:
        answers = await asyncio.gather(
            *(self._caller.call(ShardId(shard_id), method, payload) for shard_id in range(self.shard_count)),
            return_exceptions=True,
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if is_failure_fatal or not isinstance(failure, PortfolioError):
                raise failure
        return [answer for answer in answers if isinstance(answer, Answer)]

    async def statuses(self) -> list[ShardStatus | ShardUnavailable]:
        """How each shard is doing, in order; an error in the place of one that does not answer."""
        return list(await asyncio.gather(*(self._status(ShardId(number)) for number in range(self.shard_count))))

    async def _status(self, shard_id: ShardId) -> ShardStatus | ShardUnavailable:
        try:
            answer = await self._caller.call(shard_id, Method.SHARD_STATUS, pack(None))
        except PortfolioError as error:
            return ShardUnavailable(f"shard {shard_id}: {error.detail}", shard=shard_id)
        return _STATUSES.decode(answer.body or b"")


def _mark_price(price: Decimal) -> Decimal:
    return money.exact(price, field="price", scale=money.PRICE_SCALE)
