"""What the commands share that ask a running service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
from ray.exceptions import RayError
from rich.console import Console

from actors.gateway import Gateway
from cluster.attaching import attach, gateway_by_handles
from cluster.console import console
from cluster.settings import Settings
from persistence.embedded.errors import EmbeddedServerError
from portfolio.errors import PortfolioError

Result = TypeVar("Result")


async def joined() -> Gateway:
    """The service of this machine, or of PORTFOLIO_RAY_ADDRESS, over actor handles. Raises ConnectionError."""
    await asyncio.to_thread(attach, Settings())
    return await gateway_by_handles()


def run(call: Coroutine[Any, Any, Result]) -> Result:
    """The result of a call to the service, or an orderly exit with what is wrong."""
    try:
        return asyncio.run(call)
    except (PortfolioError, EmbeddedServerError, RayError, ConnectionError, LookupError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def wide_console(width_min: int) -> Console:
    """The console, with room for a table that is read in whole lines."""
    return Console(highlight=False, emoji=False, width=max(console.width, width_min))
