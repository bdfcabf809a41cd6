"""What a query may be: one statement that reads our tables and nothing else, as the engine's own parser understands it.

The statement is judged by its syntax tree, and everything in the tree has to be known here. Its kind alone does not tell:
`with x as (insert into t ... returning *) select * from x` is a SELECT to the engine, and so is
`select * from query('...')`, which runs whatever the text says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from analytics.sql.limits import SQL_LENGTH_MAX
from analytics.sql.tables import Table
from portfolio.errors import QueryFailed, QueryRefused

_QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})
_SOURCES: Final = frozenset(
    {"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY", "TABLE_FUNCTION"}
)
_MODIFIERS: Final = frozenset({"DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"})
_ORDERS: Final = frozenset({"ASCENDING", "DESCENDING", "ORDER_DEFAULT"})
_KNOWN: Final = _QUERIES | _SOURCES | _MODIFIERS | _ORDERS
_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "unnest"})
"""The others read files, run text as SQL, or show the engine's inside."""
_FUNCTIONS_REFUSED: Final = frozenset({"current_setting", "json_serialize_plan", "pg_sleep", "sleep_ms", "write_log"})
"""They show paths of the machine, bind whatever SQL their text holds, keep others waiting, and write."""
_OURS: Final = frozenset(table.value for table in Table)
_EXPLAIN: Final = re.compile(r"\s*explain(\s+analyze)?\b", re.IGNORECASE)
_READING: Final = "expected one SELECT, WITH, VALUES, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN"

_Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may run, and the tables that it reads."""

    text: str
    tables: frozenset[Table]


def understand(connection: duckdb.DuckDBPyConnection, sql: str) -> Statement:
    """The one statement in `sql`, which reads only. Raises QueryRefused, or QueryFailed if it has no meaning."""
    if len(sql) > SQL_LENGTH_MAX:
        raise QueryRefused(
            f"the query has {len(sql):,} characters, expected at most {SQL_LENGTH_MAX:,}", limit=SQL_LENGTH_MAX
        )
    text = _only_statement(connection, sql)
    explained = _EXPLAIN.match(text)
    return Statement(text, _tables_read(_tree(connection, text[explained.end() :] if explained else text)))


def _only_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryFailed(str(error)) from error
    if len(statements) != 1:
        raise QueryRefused(f"the query has {len(statements)} statements, {_READING}")
    (statement,) = statements
    if statement.type == duckdb.StatementType.MULTI:
        raise QueryRefused("PIVOT has to name its values, as in PIVOT t ON c IN ('a', 'b') USING sum(x)")
    if statement.type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise QueryRefused(f"{statement.type.name} is not allowed, {_READING}", statement=statement.type.name)
    return str(statement.query)


def _tree(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    ((serialized,),) = connection.execute("select json_serialize_sql($1::varchar)", [text]).fetchall()
    try:
        tree = json.loads(serialized)
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply") from error
    if tree["error"]:
        raise QueryRefused(f"{tree['error_message']}; {_READING}")
    return tree["statements"]


def _tables_read(tree: Any) -> frozenset[Table]:
    """Our tables among those that the tree names. Raises QueryRefused for whatever else it would reach."""
    read: set[Table] = set()
    # Each with the names that common table expressions have given around it.
    left: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
    while left:
        node, given = left.pop()
        if isinstance(node, list):
            left.extend((part, given) for part in node)
        elif isinstance(node, dict):
            _check(node)
            if node.get("type") == "BASE_TABLE":
                read |= _table(node, given)
            left.extend(_parts(node, given))
    return frozenset(read)


def _check(node: _Node) -> None:
    kind = node.get("type")
    # Expressions, which have a class, read nothing but through queries and functions.
    if isinstance(kind, str) and "class" not in node and kind not in _KNOWN:
        raise QueryRefused(f"{kind} is not allowed, {_READING}")
    if kind == "TABLE_FUNCTION":
        name = node["function"]["function_name"]
        if name.lower() not in _TABLE_FUNCTIONS:
            raise QueryRefused(f"the table function {name} is not allowed", function=name)
    name = node.get("function_name")
    if isinstance(name, str) and name.lower() in _FUNCTIONS_REFUSED:
        raise QueryRefused(f"the function {name} is not allowed", function=name)


def _table(node: _Node, given: frozenset[str]) -> frozenset[Table]:
    """The table of ours that a name stands for; none where a common table expression has that name."""
    path = [part.lower() for part in node["qualified_name"]["path"]]
    if len(path) == 1 and path[0] in given:
        return frozenset()
    if len(path) == 1 and path[0] in _OURS:
        return frozenset({Table(path[0])})
    raise QueryRefused(f"there is no table {'.'.join(path)}, expected one of {', '.join(Table)}", table=".".join(path))


def _parts(node: _Node, given: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
    """What a node consists of, each part with the names that hold in it."""
    for expression in (node.get("cte_map") or {}).get("map", ()):
        name, body = expression["key"].lower(), expression["value"]
        is_recursive = body["query_node"]["type"] == "RECURSIVE_CTE_NODE"
        # A name holds in what follows it, and in its own body only if that is recursive.
        yield body, given | {name} if is_recursive else given
        given |= {name}
    yield from ((part, given) for key, part in node.items() if key != "cte_map")
