"""The whole cluster behind one face: each request goes to the shard that owns its portfolio."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from actors.documents import SummaryDocument
from actors.line import behind
from actors.protocol import (
    Answer,
    BooksQuestion,
    Fault,
    IdsQuestion,
    KeysQuestion,
    Method,
    PageQuestion,
    PortfolioQuestion,
    UpdateOutcome,
    pack,
    unpack_marked_book,
)
from actors.shard_status import ShardStatus
from portfolio import money
from portfolio.book import Book, Mark, MarkedBook
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.errors import (
    OutcomeUnknown,
    PortfolioError,
    PortfolioNotFound,
    ShardUnavailable,
    Unavailable,
    WrongShard,
)
from portfolio.ids import InstrumentId, PortfolioId, ShardId
from portfolio.sharding import ShardMap
from portfolio.status import Status

_SETTLING_S: Final = 2.0
_SETTLING_PAUSE_S: Final = 0.01
_METHODS: Final = {
    OpenPortfolio: Method.OPEN,
    UpdatePortfolio: Method.UPDATE,
    ChangeStatus: Method.STATUS,
}
STATUS_TIMEOUT_S: Final = 2.0
"""A status comes from memory. Whoever asks for it, a load balancer or a scraper, must not wait for a shard that hangs."""
_OUTCOMES: Final = msgspec.msgpack.Decoder(list[UpdateOutcome])
_SUMMARIES: Final = msgspec.json.Decoder(list[SummaryDocument])
_STATUSES: Final = msgspec.msgpack.Decoder(ShardStatus)
_BOOK_LISTS: Final = msgspec.msgpack.Decoder(list[MarkedBook])
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

    def __init__(self, caller: ShardCaller, shards: ShardMap) -> None:
        self._caller = caller
        self.shards = shards

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
        """The committed book itself; None if there is none."""
        try:
            return (await self.marked_book(portfolio_id)).book
        except PortfolioNotFound:
            return None

    async def marked_book(self, portfolio_id: PortfolioId) -> MarkedBook:
        """The committed book with its marks, for callers that compute with it. Raises PortfolioNotFound."""
        return unpack_marked_book(await self.packed_book(portfolio_id))

    async def packed_book(self, portfolio_id: PortfolioId) -> bytes:
        """The same as it came, for callers that pass it on to whoever computes. `unpack_marked_book` reads it."""
        answer = await self._ask(portfolio_id, Method.BOOK, PortfolioQuestion(portfolio_id))
        return answer.body or b""

    async def books(self, shard_id: ShardId, after: str, limit: int) -> list[Book]:
        """Some committed books of one shard whose ids follow `after`, ordered by id; none only at the end."""
        return [marked.book for marked in await self.marked_books(shard_id, after, limit)]

    async def marked_books(self, shard_id: ShardId, after: str, limit: int) -> list[MarkedBook]:
        """As `books`, each with its marks."""
        answer = await self._call(shard_id, Method.BOOKS, pack(BooksQuestion(after, limit)))
        return _BOOK_LISTS.decode(answer.body or b"\x90")

    async def portfolio_ids(self) -> Mapping[ShardId, list[PortfolioId]]:
        """Every portfolio that there is, those in quarantine too, by the shard that has it; ordered by id."""
        while True:
            asked = self.shards
            found = await asyncio.gather(*(self._ids_of(*shard) for shard in asked.moduli.items()))
            if self.shards is asked:
                return dict(zip(asked.moduli, found, strict=True))

    async def _ids_of(self, shard_id: ShardId, modulus: int) -> list[PortfolioId]:
        """The ids of one shard, or some of them once it has split."""
        found: list[PortfolioId] = []
        while True:
            question = IdsQuestion(modulus, found[-1] if found else "")
            try:
                answer = await self._call(shard_id, Method.PORTFOLIO_IDS, pack(question))
            except WrongShard as error:
                self._learn(shard_id, error.cause.get("modulus"))
                if self.shards.moduli[shard_id] == modulus:
                    raise
                return found
            more = _TEXTS.decode(answer.body or b"\x90")
            if not more:
                return found
            found += map(PortfolioId, more)

    async def known_keys(self, portfolio_id: PortfolioId, keys: Sequence[str]) -> frozenset[str]:
        """Which of these idempotency keys the portfolio has seen."""
        answer = await self._ask(portfolio_id, Method.KNOWN_KEYS, KeysQuestion(portfolio_id, list(keys)))
        return frozenset(_TEXTS.decode(answer.body or b""))

    async def rebuild(self, portfolio_id: PortfolioId) -> Answer:
        """Try to take a portfolio out of quarantine, its rows having been mended; gives its state.

        Raises PortfolioQuarantined with what is wrong with its rows now.
        """
        return await self._ask(portfolio_id, Method.REBUILD, PortfolioQuestion(portfolio_id))

    async def _ask(self, portfolio_id: PortfolioId, method: Method, payload: object) -> Answer:
        packed = pack(payload)
        patience = _Patience()
        while True:
            shard_id = self.shards.shard_of(portfolio_id)
            try:
                return await self._caller.call(shard_id, method, packed)
            except WrongShard as error:
                # Nothing was booked: the half that was asked has refused.
                self._learn(shard_id, error.cause.get("modulus"))
                if self.shards.shard_of(portfolio_id) == shard_id:
                    raise
            except ShardUnavailable as error:
                await patience.wait_out(error)

    def _learn(self, shard_id: ShardId, modulus: object) -> None:
        """Take up that a shard has split, until its modulus is `modulus`."""
        while isinstance(modulus, int) and self.shards.moduli[shard_id] < modulus:
            self.shards = self.shards.split(shard_id)

    async def update_many(self, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        """Book updates of any portfolios, each a unit of its own; outcomes in the order asked.

        Updates of one portfolio are booked in the order given.
        """
        outcomes: dict[int, UpdateOutcome] = {}
        patience = _Patience()
        while True:
            outcomes.update(await self._round(commands, [i for i in range(len(commands)) if i not in outcomes]))
            if len(outcomes) == len(commands) or patience.is_over():
                return [outcomes.get(i) or _still_unsettled(command) for i, command in enumerate(commands)]
            await patience.rest()

    async def _round(self, commands: Sequence[UpdatePortfolio], left: Sequence[int]) -> Mapping[int, UpdateOutcome]:
        """Ask for what is left; gives the outcomes that are the last word."""
        by_shard: dict[ShardId, list[int]] = defaultdict(list)
        for index in left:
            by_shard[self.shards.shard_of(commands[index].portfolio_id)].append(index)
        answers = await asyncio.gather(
            *(self._update_shard(shard, [commands[i] for i in indexes]) for shard, indexes in by_shard.items())
        )
        settled: dict[int, UpdateOutcome] = {}
        for shard_id, indexes, answered in zip(by_shard, by_shard.values(), answers, strict=True):
            settled.update(self._settled(shard_id, dict(zip(indexes, answered, strict=True))))
        return settled

    def _settled(self, shard_id: ShardId, answered: Mapping[int, UpdateOutcome]) -> Mapping[int, UpdateOutcome]:
        """Those outcomes that are the last word; the others are of portfolios that have gone, or are going, elsewhere."""
        settled: dict[int, UpdateOutcome] = {}
        held_up: set[str] = set()
        left_to_caller: set[str] = set()
        for index, outcome in answered.items():
            fault = outcome.fault
            if fault is not None and fault.code == WrongShard.code:
                self._learn(shard_id, fault.cause.get("modulus"))
            if not _is_astray(outcome, held_up):
                settled[index] = outcome
                if fault is not None and isinstance(fault.error(), Unavailable | OutcomeUnknown):
                    left_to_caller.add(outcome.portfolio_id)
            elif outcome.portfolio_id in left_to_caller:
                # The caller is to send the one before it again; booked now, this one would overtake it.
                settled[index] = UpdateOutcome(outcome.portfolio_id, fault=Fault.of(behind(outcome.portfolio_id)))
            else:
                held_up.add(outcome.portfolio_id)
        return settled

    async def _update_shard(self, shard_id: ShardId, commands: Sequence[UpdatePortfolio]) -> list[UpdateOutcome]:
        try:
            answer = await self._caller.call(shard_id, Method.UPDATE_MANY, pack(commands))
        except PortfolioError as error:
            return [UpdateOutcome(command.portfolio_id, fault=Fault.of(error)) for command in commands]
        return _OUTCOMES.decode(answer.body or b"")

    async def page(self, after: str, limit: int, status: Status | None) -> list[SummaryDocument]:
        """At most `limit` portfolios of the whole cluster whose ids follow `after`, ordered by id."""
        answers = await self._page_of_all(after, limit, status)
        pages = [_SUMMARIES.decode(answer.body or b"[]") for answer in answers]
        merged = heapq.merge(*pages, key=lambda summary: summary.portfolio_id)
        return [summary for summary, _ in zip(merged, range(limit), strict=False)]

    async def _page_of_all(self, after: str, limit: int, status: Status | None) -> list[Answer]:
        while True:
            asked = self.shards
            questions = {
                found: pack(PageQuestion(modulus, after, limit, status)) for found, modulus in asked.moduli.items()
            }
            answers = await self._ask_all(Method.PAGE, questions)
            for shard_id, answer in answers.items():
                if isinstance(answer, WrongShard):
                    self._learn(shard_id, answer.cause.get("modulus"))
            if self.shards is asked:
                return [_or_raised(answer) for answer in answers.values()]

    async def update_marks(self, marks: Mapping[InstrumentId, Mark]) -> MarkCounts:
        """Record market marks, then show them to every shard. When it returns they are durable.

        A shard that cannot be told now finds them by itself: when it recovers, or when it next looks.
        Raises InvalidRequest for a price that has too many digits.
        """
        if not marks:
            return MarkCounts(0, 0)
        # At their own scale, as the database gives them back: a state must read the same after a restart.
        told = pack({name: Mark(_mark_price(mark.price), mark.time) for name, mark in marks.items()})
        recorded = await self._call(self._recorder(marks), Method.RECORD_MARKS, told)
        accepted = len(_TEXTS.decode(recorded.body or b""))
        await self._ask_all(Method.SHOW_MARKS, dict.fromkeys(self.shards.shard_ids, told))
        return MarkCounts(accepted, len(marks) - accepted)

    def _recorder(self, marks: Mapping[InstrumentId, Mark]) -> ShardId:
        # Any shard can record; spreading by the first instrument shares the work and stays the same on a retry.
        return self.shards.shard_of(PortfolioId(next(iter(marks))))

    async def _ask_all(
        self, method: Method, payloads: Mapping[ShardId, bytes]
    ) -> Mapping[ShardId, Answer | PortfolioError]:
        """Each shard's answer, or its error."""
        answers = await asyncio.gather(
            *(self._ask_one(shard_id, method, packed) for shard_id, packed in payloads.items())
        )
        return dict(zip(payloads, answers, strict=True))

    async def _ask_one(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer | PortfolioError:
        try:
            return await self._call(shard_id, method, payload)
        except PortfolioError as error:
            return error

    async def _call(self, shard_id: ShardId, method: Method, payload: bytes) -> Answer:
        """A shard's answer, waited for while it moves or makes sure that it is the owner. Raises its error."""
        patience = _Patience()
        while True:
            try:
                return await self._caller.call(shard_id, method, payload)
            except ShardUnavailable as error:
                await patience.wait_out(error)

    async def statuses(self) -> Mapping[ShardId, ShardStatus | ShardUnavailable]:
        """How each shard is doing, in their order; an error in the place of one that does not answer within two seconds."""
        while True:
            asked = self.shards
            found = await asyncio.gather(*map(self._status, asked.shard_ids))
            for status in found:
                if isinstance(status, ShardStatus):
                    self._learn(status.shard_id, status.modulus)
            if self.shards is asked:
                return dict(zip(asked.shard_ids, found, strict=True))

    async def _status(self, shard_id: ShardId) -> ShardStatus | ShardUnavailable:
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                answer = await self._caller.call(shard_id, Method.SHARD_STATUS, pack(None))
        except TimeoutError:
            return ShardUnavailable(f"shard {shard_id} did not answer within {STATUS_TIMEOUT_S:g} s", shard=shard_id)
        except PortfolioError as error:
            return ShardUnavailable(f"shard {shard_id}: {error.detail}", shard=shard_id)
        return _STATUSES.decode(answer.body or b"")


class _Patience:
    """How long a caller is kept waiting while a shard moves or confirms its lease, which takes a fraction of a second.

    It counts from the first answer, which may itself have come late: others were waited for, or the shard stood still.
    """

    def __init__(self) -> None:
        self._until: float | None = None

    def is_over(self) -> bool:
        """Whether the caller has to be told; asked after each answer."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + _SETTLING_S
        return now > self._until

    async def wait_out(self, error: ShardUnavailable) -> None:
        """Rest before the next try. Raises the error if that would be in vain, or it has been long enough."""
        if not _is_settling(error.cause) or self.is_over():
            raise error
        await self.rest()

    async def rest(self) -> None:
        """Before the next try."""
        await asyncio.sleep(_SETTLING_PAUSE_S)


def _still_unsettled(command: UpdatePortfolio) -> UpdateOutcome:
    error = ShardUnavailable(f"the shard of {command.portfolio_id} has been unsettled for too long; nothing was booked")
    return UpdateOutcome(command.portfolio_id, fault=Fault.of(error))


def _is_astray(outcome: UpdateOutcome, held_up: Collection[str]) -> bool:
    fault = outcome.fault
    if fault is None:
        return False
    if fault.code == WrongShard.code or _is_settling(fault.cause):
        return True
    # It was turned away to keep its place behind one that is tried again.
    return fault.code == ShardUnavailable.code and outcome.portfolio_id in held_up


def _is_settling(cause: Mapping[str, object]) -> bool:
    """Whether it is a matter of a moment: the shard moves, or asks Postgres whether it is the owner still."""
    return cause.get("moving") is True or cause.get("confirming") is True


def _or_raised(answer: Answer | PortfolioError) -> Answer:
    if isinstance(answer, PortfolioError):
        raise answer
    return answer


def _mark_price(price: Decimal) -> Decimal:
    return money.exact(price, field="price", scale=money.PRICE_SCALE)
