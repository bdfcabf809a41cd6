"""One statement, prepared once on a connection of its own and run many times with as little work as can be.

A commit of a single row takes about as long as the driver's general way of running a statement: choosing how each
value is adapted, looking the statement up, making a cursor. Here every value is text already, and only the count of
rows is of interest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

import psycopg
from psycopg import errors, generators, pq
from psycopg.pq.abc import PGresult

from persistence.postgres import Connection

_NAMED: Final = re.compile(r"%\((\w+)\)s")
_DONE: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


class PreparedStatement:
    """A statement with named parameters; nothing else runs on `connection` at the same time.

    The types of the parameters must be plain from the statement.
    """

    def __init__(self, connection: Connection, name: str, parameters: list[str]) -> None:
        self.connection = connection
        self._name = name.encode()
        self._parameters = parameters

    @classmethod
    async def prepare(cls, connection: Connection, name: str, statement: LiteralString) -> PreparedStatement:
        """Prepare it under a name that the connection does not know yet. Raises psycopg.Error."""
        parameters = list(dict.fromkeys(_NAMED.findall(statement)))
        numbered = _NAMED.sub(lambda found: f"${parameters.index(found[1]) + 1}", statement)
        # Its plan never depends on the values, and making one would take longer than following it.
        await connection.execute("set plan_cache_mode = force_generic_plan")
        # Not by PREPARE: whoever reads along on the wire learns from the protocol's own message what the name stands for.
        connection.pgconn.send_prepare(name.encode(), numbered.encode())
        await _answer(connection)
        return cls(connection, name, parameters)

    async def run(self, values: Mapping[str, object]) -> int:
        """Run it with the text of `values`; gives the number of rows that it changed. Raises psycopg.Error."""
        texts = [str(values[name]).encode() for name in self._parameters]
        self.connection.pgconn.send_query_prepared(self._name, texts)
        return (await _answer(self.connection)).command_tuples or 0


async def _answer(connection: Connection) -> PGresult:
    """The server's answer to what was sent. Raises psycopg.Error; without any answer, the connection is closed then."""
    results: Sequence[PGresult] = await connection.wait(generators.execute(connection.pgconn))
    # A server that ends the connection may say so in a result of its own, after the error or instead of it.
    for result in results:
        if result.status not in _DONE:
            raise errors.error_from_result(result)
    if not results:
        # Nobody knows what was done, as when the connection is lost.
        connection.pgconn.finish()
        raise psycopg.OperationalError("the server gave no answer")
    return results[0]
