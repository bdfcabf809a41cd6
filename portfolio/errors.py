"""Every way a request can fail, in families that a caller acts on."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Self

CauseValue = str | int | bool | Decimal | None


class PortfolioError(Exception):
    """Root of all errors. `code` is stable, `detail` is for people, `cause` holds the data that names the cause."""

    code: ClassVar[str]

    def __init__(self, detail: str, **cause: CauseValue) -> None:
        super().__init__(detail)
        self.detail = detail
        self.cause: dict[str, CauseValue] = cause

    def at(self, index: int) -> Self:
        """The same error, naming which transaction of an update it concerns (0 is the first)."""
        self.cause.setdefault("index", index)
        return self


class Rejected(PortfolioError):
    """The command cannot be booked as it is. Nothing changed; asking again gives the same answer."""


class InvalidRequest(Rejected):
    code = "invalid-request"


class InsufficientPosition(Rejected):
    code = "insufficient-position"


class MinCashBreached(Rejected):
    code = "min-cash-breached"


class ShortNotAllowed(Rejected):
    code = "short-not-allowed"


class IdempotencyKeyReused(Rejected):
    code = "idempotency-key-reused"


class BodyTooLarge(Rejected):
    code = "body-too-large"


class PortfolioNotFound(Rejected):
    code = "portfolio-not-found"


class QueryRefused(Rejected):
    """The SQL is not one statement that reads our tables and nothing else."""

    code = "query-refused"


class QueryFailed(Rejected):
    """The SQL means nothing, or its evaluation failed; the detail is what the engine says."""

    code = "query-failed"


class QueryTimeout(Rejected):
    """The query was stopped because it took too long."""

    code = "query-timeout"


class QueryTooLarge(Rejected):
    """The query was stopped because it takes too much memory, or its result has too many rows or bytes."""

    code = "query-too-large"


class Conflict(PortfolioError):
    """The command does not fit the present state. Nothing changed; read the state and decide anew."""


class PortfolioExists(Conflict):
    code = "portfolio-exists"


class StatusForbids(Conflict):
    code = "status-forbids"


class IllegalStatusChange(Conflict):
    code = "illegal-status-change"


class VersionMismatch(Conflict):
    code = "version-mismatch"


class Unavailable(PortfolioError):
    """Nothing was booked; the same request may be sent again after a moment."""


class Overloaded(Unavailable):
    code = "overloaded"


class ShardUnavailable(Unavailable):
    """The shard cannot answer now. With `moving` in its cause, it is about to, elsewhere or anew; with `confirming`, once
    Postgres has told it that it is the owner still.
    """

    code = "shard-unavailable"


class WrongShard(Unavailable):
    """The shard has split, and the portfolio went with the other half; `modulus` is the shard's now."""

    code = "wrong-shard"


class AnalyticsUnavailable(Unavailable):
    """The figures cannot be computed now; what they are of is served all the same."""

    code = "analytics-unavailable"


class OutcomeUnknown(PortfolioError):
    """The command may or may not have been booked; only a retry with the same idempotency key tells."""

    code = "outcome-unknown"


class PortfolioQuarantined(PortfolioError):
    """The portfolio's journal rows do not add up, so it answers nothing. Asking again helps only once they are mended."""

    code = "portfolio-quarantined"


class Corrupt(PortfolioError):
    """Stored data or a book breaks an invariant of ours. The shard stops; an operator has to look."""

    code = "corrupt"


class Deposed(PortfolioError):
    """Another incarnation owns the shard now; this one must stop at once."""

    code = "deposed"


def _families(root: type[PortfolioError]) -> Mapping[str, type[PortfolioError]]:
    found: dict[str, type[PortfolioError]] = {}
    for kind in root.__subclasses__():
        if "code" in vars(kind):
            found[kind.code] = kind
        found |= _families(kind)
    return found


BY_CODE: Mapping[str, type[PortfolioError]] = _families(PortfolioError)
"""Each concrete error by its code, so that an error can cross a process boundary as (code, detail, cause)."""
