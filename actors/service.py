"""Answers a shard's methods, whichever transport they came by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import msgspec

from actors.documents import to_json
from actors.line import Line, Place
from actors.protocol import (
    PAYLOADS,
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
    refusal,
)
from actors.rendering import Encoded
from actors.shard import Shard
from actors.stalls import Stalls
from actors.writer import Outcome
from portfolio import ids
from portfolio.book import Mark
from portfolio.commands import Command, UpdatePortfolio
from portfolio.errors import Corrupt, InvalidRequest, PortfolioError
from portfolio.ids import InstrumentId

_log = logging.getLogger(__name__)
IDS_MAX: Final = 10_000
"""Ids in one answer, which is made in one step: half a millisecond."""
UPDATES_MAX: Final = 1_000
"""Updates in one update_many."""
BOOKS_MAX: Final = 1_000
BOOKS_BYTES_MAX: Final = 4 * 1024 * 1024
"""Books in one answer: as many, and no more once they have come to as many bytes."""


class Service:
    """The methods of one shard. Reads are answered at once, from memory; writes and journal reads are awaited."""

    def __init__(self, shard: Shard, stalls: Stalls | None = None) -> None:
        self._shard = shard
        self._stalls = stalls or Stalls()
        self._pacer = shard.pacer()
        self._reads: Mapping[str, Callable[[Any], Answer]] = {
            Method.STATE: self._state,
            Method.POSITIONS: self._positions,
            Method.BOOK: self._book,
            Method.SHOW_MARKS: self._show_marks,
            Method.SHARD_STATUS: self._shard_status,
            Method.PORTFOLIO_IDS: self._portfolio_ids,
        }
        self._calls: Mapping[str, Callable[[Any], Awaitable[Answer]]] = {
            Method.OPEN: self._write,
            Method.UPDATE: self._write,
            Method.STATUS: self._write,
            Method.UPDATE_MANY: self._update_many,
            Method.PAGE: self._page,
            Method.BOOKS: self._books,
            Method.RECORD_MARKS: self._record_marks,
            Method.KNOWN_KEYS: self._known_keys,
            Method.SHARD_MAP: self._shard_map,
            Method.REBUILD: self._rebuild,
        }

    def read(self, method: str, payload: bytes | memoryview) -> Answer | None:
        """The answer to a method that needs no waiting; None if this is not one."""
        reader = self._reads.get(method)
        if reader is None:
            return None
        try:
            return reader(_unpack(method, payload))
        except Exception as error:  # noqa: BLE001 - whoever asks must be answered; see _refused.
            return _refused(method, error)

    async def answer(self, method: str, payload: bytes | memoryview) -> Answer:
        """The answer to any method; errors are answers too."""
        answered = self.read(method, payload)
        if answered is not None:
            return answered
        try:
            call = self._calls.get(method)
            if call is None:
                raise InvalidRequest(f"a shard has no method {method!r}", field="method")
            return await call(_unpack(method, payload))
        except Exception as error:  # noqa: BLE001 - whoever asks must be answered; see _refused.
            return _refused(method, error)

    def _state(self, question: PortfolioQuestion) -> Answer:
        documents = self._shard.books_with(question.portfolio_id).documents(question.portfolio_id)
        return self._unless_known(documents, documents.state, question.if_none_match)

    def _positions(self, question: PortfolioQuestion) -> Answer:
        documents = self._shard.books_with(question.portfolio_id).documents(question.portfolio_id)
        return self._unless_known(documents, documents.positions, question.if_none_match)

    def _unless_known(self, documents: Encoded, body: bytes, if_none_match: str | None) -> Answer:
        etag = documents.etag
        return Answer(None if if_none_match == etag else body, etag, owner=self._shard.signature)

    def _book(self, question: PortfolioQuestion) -> Answer:
        books = self._shard.books_with(question.portfolio_id)
        return Answer(pack(books.marked(books.get(question.portfolio_id))))

    def _portfolio_ids(self, question: IdsQuestion) -> Answer:
        self._shard.check_modulus(question.modulus)
        return Answer(pack(self._shard.books.ids_following(question.after, IDS_MAX)))

    def _show_marks(self, marks: Mapping[InstrumentId, Mark]) -> Answer:
        self._shard.show_marks(marks)
        return Answer()

    def _shard_status(self, _: None) -> Answer:
        seen = self._stalls
        status = replace(self._shard.status(), stalls=seen.count, stalls_own=seen.own, stall_longest_s=seen.longest_s)
        return Answer(pack(asdict(status)))

    async def _write(self, command: Command) -> Answer:
        # The books are taken first: a shard that stops right after the commit must not deny what it has booked.
        books = self._shard.books
        outcome = await self._shard.submit(command)
        await self._give_way()
        documents = books.documents_of(outcome.book)
        return Answer(documents.state, documents.etag, outcome.replayed, owner=self._shard.signature)

    async def _give_way(self) -> None:
        """Many who wait for one commit wake at once; between them, the loop does what else is due."""
        if self._pacer.is_due():
            await self._pacer.rest()

    async def _update_many(self, commands: list[UpdatePortfolio]) -> Answer:
        if len(commands) > UPDATES_MAX:
            raise InvalidRequest(f"{len(commands)} updates, expected at most {UPDATES_MAX:,}", field="updates")
        # All are queued before the first is awaited, so that they share commits.
        line = Line()
        queued: list[asyncio.Future[Outcome] | PortfolioError] = []
        for command in commands:
            await self._give_way()
            queued.append(self._queued(command, line.place(command.portfolio_id)))
        return Answer(pack([await _outcome(command, answer) for command, answer in zip(commands, queued, strict=True)]))

    def _queued(self, command: UpdatePortfolio, place: Place) -> asyncio.Future[Outcome] | PortfolioError:
        try:
            return self._shard.submit(command, place)
        except PortfolioError as error:
            return error

    async def _page(self, question: PageQuestion) -> Answer:
        self._shard.check_modulus(question.modulus)
        page = self._shard.books.page(question.after, question.limit, question.status, self._shard.pacer())
        found = await page
        # A split in between has taken portfolios from under the page.
        self._shard.check_modulus(question.modulus)
        return Answer(to_json(found))

    async def _books(self, question: BooksQuestion) -> Answer:
        pacer = self._shard.pacer()
        packed: list[msgspec.Raw] = []
        size = 0
        # Books are immutable: those found now can be packed one by one while newer ones are committed.
        for book in self._shard.books.following(question.after, min(question.limit, BOOKS_MAX)):
            content = pack(self._shard.books.marked(book))
            packed.append(msgspec.Raw(content))
            size += len(content)
            if size >= BOOKS_BYTES_MAX:
                break
            if pacer.is_due():
                await pacer.rest()
        return Answer(pack(packed))

    async def _record_marks(self, marks: Mapping[InstrumentId, Mark]) -> Answer:
        return Answer(pack(sorted(await self._shard.record_marks(marks))))

    async def _shard_map(self, _: None) -> Answer:
        return Answer(pack(await self._shard.moduli()))

    async def _rebuild(self, question: PortfolioQuestion) -> Answer:
        await self._shard.rebuild(question.portfolio_id)
        return self._state(question)

    async def _known_keys(self, question: KeysQuestion) -> Answer:
        self._shard.books_with(question.portfolio_id)
        keys = [(question.portfolio_id, ids.idempotency_key(key)) for key in question.keys]
        return Answer(pack(sorted(key for _, key in await self._shard.find_keys(keys))))


def _refused(method: str, error: Exception) -> Answer:
    """The answer that carries an error; one that is not ours is a fault of ours, and its story is in the log."""
    if isinstance(error, PortfolioError):
        return refusal(error)
    _log.error("%s failed", method, exc_info=error)
    return refusal(Corrupt(f"{method} failed: {type(error).__name__}"))


def _unpack(method: str, payload: bytes | memoryview) -> Any:
    try:
        return PAYLOADS[Method(method)].decode(payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(f"{method}: {error}") from error


async def _outcome(command: UpdatePortfolio, queued: asyncio.Future[Outcome] | PortfolioError) -> UpdateOutcome:
    try:
        if isinstance(queued, PortfolioError):
            raise queued
        outcome = await queued
    except PortfolioError as error:
        return UpdateOutcome(command.portfolio_id, fault=Fault.of(error))
    return UpdateOutcome(command.portfolio_id, outcome.book.version, outcome.replayed)
