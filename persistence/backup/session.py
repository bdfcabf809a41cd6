"""A connection for work that may take as long as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from persistence.postgres import conninfo, first_line
from persistence.statements import SQL
from portfolio.errors import ShardUnavailable


@contextmanager
def unhurried(dsn: str, doing: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection in autocommit without the time limits of those that serve. Raises ShardUnavailable."""
    try:
        with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
            connection.execute(SQL["lift_time_limits"])
            yield connection
    # An OSError would be one of the block's own, such as a full disk under the backup.
    except psycopg.Error as error:
        raise ShardUnavailable(f"Postgres failed while {doing}: {first_line(error)}") from error
