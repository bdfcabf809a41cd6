"""One statement, prepared once on a connection of its own and run many times with as little work as can be.

A commit of a single row takes about as long as the driver's general way of running a statement: choosing how each
value is adapted, looking the statement up, making a cursor. Here every value is text already, and only the count of
rows is of interest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, LiteralString

from psycopg import errors, generators, pq

from persistence.postgres import Connection

_NAMED: Final = re.compile(r"%\((\w+)\)s")


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
        await connection.execute(f"prepare {name} as {numbered}".encode())
        return cls(connection, name, parameters)

    async def run(self, values: Mapping[str, object]) -> int:
        """Run it with the text of `values`; gives the number of rows that it changed. Raises psycopg.Error."""
        connection = self.connection.pgconn
        connection.send_query_prepared(self._name, [str(values[name]).encode() for name in self._parameters])
        (result,) = await self.connection.wait(generators.execute(connection))
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise errors.error_from_result(result)
        return result.command_tuples or 0
