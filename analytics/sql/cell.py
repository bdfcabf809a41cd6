"""The process of one query: `python -m analytics.sql.cell FD`, where FD is its end of a socket.

It knows no address and no password, opens nothing but what it is handed, and is ended by the kernel if it takes too long.
It answers one query and is gone, so nothing that a query does outlasts it.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import Final

import pyarrow as pa

from analytics.sql import confinement
from analytics.sql.encoding import encode
from analytics.sql.engine import check_size, give_tables, open_engine, out_of_memory, run
from analytics.sql.messages import Answer, Fault, Link, Needs, Question
from analytics.sql.opened import opened
from analytics.sql.statement import understand
from portfolio.errors import PortfolioError, QueryFailed

GRACE_S: Final = 2.0
"""How much longer a query may take to heed its interruption, and a result to be encoded."""
_UNDERSTANDING_S: Final = 5.0
_REASON_LENGTH_MAX: Final = 1_000


def main() -> None:
    """Answer one query."""
    _load_what_comes_late()
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    # Whoever started this has gone: nobody waits for an answer.
    with suppress(EOFError):
        confinement.be_first_to_go()
        confinement.be_a_session()
        question = link.receive(Question)
        try:
            link.send(_answer(link, question))
        except PortfolioError as error:
            link.send(Fault.of(error))
        except MemoryError:
            link.send(Fault.of(out_of_memory(question.limits)))
        except Exception as error:  # noqa: BLE001
            # Told or lost: it may write nothing any more, in a log neither.
            link.send(Fault.of(QueryFailed(f"the query's process failed: {error!r}"[:_REASON_LENGTH_MAX])))
    # Without the interpreter's way out, which may take long after a query that has been stopped.
    os._exit(0)


def _load_what_comes_late() -> None:
    """Whatever is imported when it is first needed: after `open_nothing_more` it could not be."""
    pa.scalar(0, pa.timestamp("us", tz="UTC")).as_py()


def _answer(link: Link, question: Question) -> Answer:
    limits = question.limits
    confinement.bound_memory(limits.memory_bytes)
    confinement.end_after(_UNDERSTANDING_S, limits.waiting_s)
    connection = open_engine(limits)
    statement = understand(connection, question.sql)
    # Loading the tables takes as long as it takes.
    confinement.end_after(0, 0)
    link.send(Needs(sorted(statement.tables)))
    give_tables(connection, {name: opened(found) for name, found in link.receive_tables().items()})
    confinement.open_nothing_more()
    confinement.end_after(limits.computing_s + GRACE_S, limits.waiting_s + GRACE_S)
    rows = run(connection, statement, limits)
    body = encode(rows, question.wanted)
    check_size(len(body), limits)
    confinement.end_after(0, 0)
    return Answer(body, rows.table.num_rows)


if __name__ == "__main__":
    main()
