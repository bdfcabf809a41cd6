"""What is said between a shard and those who ask it, over any transport: methods, payloads, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec

from portfolio.book import Mark, MarkedBook
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.errors import BY_CODE, Corrupt, PortfolioError
from portfolio.ids import InstrumentId, PortfolioId
from portfolio.status import Status


class Method(StrEnum):
    OPEN = "open"
    UPDATE = "update"
    STATUS = "status"
    UPDATE_MANY = "update_many"
    STATE = "state"
    POSITIONS = "positions"
    PAGE = "page"
    BOOK = "book"
    BOOKS = "books"
    PORTFOLIO_IDS = "portfolio_ids"
    KNOWN_KEYS = "known_keys"
    REBUILD = "rebuild"
    RECORD_MARKS = "record_marks"
    SHOW_MARKS = "show_marks"
    SHARD_STATUS = "shard_status"
    SHARD_MAP = "shard_map"


WRITES: Final = frozenset({Method.OPEN, Method.UPDATE, Method.STATUS, Method.UPDATE_MANY})
"""Methods whose outcome is unknown when the answer is lost."""


class Fault(msgspec.Struct, array_like=True, frozen=True):
    """An error on its way to where it is raised again. Decimals go apart, or they would arrive as text."""

    code: str
    detail: str
    cause: dict[str, str | int | bool | None]
    amounts: dict[str, Decimal]

    @classmethod
    def of(cls, error: PortfolioError) -> Fault:
        """`error` as it travels."""
        amounts = {name: found for name, found in error.cause.items() if isinstance(found, Decimal)}
        cause = {name: found for name, found in error.cause.items() if not isinstance(found, Decimal)}
        return cls(error.code, error.detail, cause, amounts)

    def error(self) -> PortfolioError:
        """The error that it was."""
        return BY_CODE.get(self.code, Corrupt)(self.detail, **self.cause, **self.amounts)


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """A shard's answer: a body already encoded, None where the caller has it, or a fault.

    `owner` is "<shard>/<epoch>" of whoever answered about a portfolio: of one shard, it never goes back.
    """

    body: bytes | None = None
    etag: str | None = None
    replayed: bool = False
    fault: Fault | None = None
    owner: str | None = None

    def raised(self) -> Answer:
        """The answer itself. Raises the error that it carries."""
        if self.fault is not None:
            raise self.fault.error()
        return self


def refusal(error: PortfolioError) -> Answer:
    """The answer that carries `error`."""
    return Answer(fault=Fault.of(error))


class PortfolioQuestion(msgspec.Struct, array_like=True, frozen=True):
    """Ask for a portfolio's documents; with `if_none_match`, only if its entity tag is another."""

    portfolio_id: PortfolioId
    if_none_match: str | None = None


class PageQuestion(msgspec.Struct, array_like=True, frozen=True):
    """Ask a shard, taken for one of `modulus`, for at most `limit` portfolios whose ids follow `after`."""

    modulus: int
    after: str
    limit: int
    status: Status | None = None


class BooksQuestion(msgspec.Struct, array_like=True, frozen=True):
    """Ask for at most `limit` books whose ids follow `after`; fewer come if they are large, none only at the end."""

    after: str
    limit: int


class IdsQuestion(msgspec.Struct, array_like=True, frozen=True):
    """Ask a shard, taken for one of `modulus`, for portfolios whose ids follow `after`; none come only at the end."""

    modulus: int
    after: str


class KeysQuestion(msgspec.Struct, array_like=True, frozen=True):
    """Ask which of these idempotency keys a portfolio has seen."""

    portfolio_id: PortfolioId
    keys: list[str]


class UpdateOutcome(msgspec.Struct, array_like=True, frozen=True):
    """What became of one of many updates: the version it led to, or a fault."""

    portfolio_id: str
    version: int | None = None
    replayed: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a shard listens. `node_id` tells whether the Unix socket can be reached; `incarnation` tells restarts."""

    node_id: str
    socket_path: str
    host: str
    port: int
    incarnation: str


_ENCODER: Final = msgspec.msgpack.Encoder()
_ANSWERS: Final = msgspec.msgpack.Decoder(Answer)
_MARKED_BOOKS: Final = msgspec.msgpack.Decoder(MarkedBook)


def pack(message: object) -> bytes:
    """`message` as msgpack; decimals go as text, exactly."""
    return _ENCODER.encode(message)


def unpack_marked_book(data: bytes) -> MarkedBook:
    """The book in `data`, the body of an answer to `Method.BOOK`."""
    return _MARKED_BOOKS.decode(data)


def unpack_answer(data: bytes | memoryview) -> Answer:
    """The answer in `data`."""
    return _ANSWERS.decode(data)


PAYLOADS: Final[Mapping[Method, msgspec.msgpack.Decoder[Any]]] = {
    Method.OPEN: msgspec.msgpack.Decoder(OpenPortfolio),
    Method.UPDATE: msgspec.msgpack.Decoder(UpdatePortfolio),
    Method.STATUS: msgspec.msgpack.Decoder(ChangeStatus),
    Method.UPDATE_MANY: msgspec.msgpack.Decoder(list[UpdatePortfolio]),
    Method.STATE: msgspec.msgpack.Decoder(PortfolioQuestion),
    Method.POSITIONS: msgspec.msgpack.Decoder(PortfolioQuestion),
    Method.PAGE: msgspec.msgpack.Decoder(PageQuestion),
    Method.BOOK: msgspec.msgpack.Decoder(PortfolioQuestion),
    Method.BOOKS: msgspec.msgpack.Decoder(BooksQuestion),
    Method.PORTFOLIO_IDS: msgspec.msgpack.Decoder(IdsQuestion),
    Method.KNOWN_KEYS: msgspec.msgpack.Decoder(KeysQuestion),
    Method.REBUILD: msgspec.msgpack.Decoder(PortfolioQuestion),
    Method.RECORD_MARKS: msgspec.msgpack.Decoder(dict[InstrumentId, Mark]),
    Method.SHOW_MARKS: msgspec.msgpack.Decoder(dict[InstrumentId, Mark]),
    Method.SHARD_STATUS: msgspec.msgpack.Decoder(None),
    Method.SHARD_MAP: msgspec.msgpack.Decoder(None),
}
"""Reads each method's payload; what does not fit is the asker's fault."""
