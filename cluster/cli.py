"""The command line: `portfolio-state COMMAND`. A command is imported when it is called: `up` must not import Ray."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from cluster.console import log_to_console

_COMMANDS: Final[Mapping[str, str]] = {
    "up": "up:up",
    "serve-child": "serve_child:serve_child",
    "load": "load:load",
    "analyze": "analyze:analyze",
    "prices": "prices:prices",
    "status": "status:status",
    "query": "query:query",
    "verify": "verify:verify",
    "repair": "repair:repair",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "upgrade": "upgrade:upgrade",
    "rebalance": "relocate:rebalance",
    "drain": "relocate:drain",
    "reshard": "reshard:reshard",
    "ray-environment": "ray_environment:ray_environment",
}
"""Where each is, below `cluster.commands`, in the order of the help."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f"cluster.commands.{module}"), name)
        return command


@click.command(cls=_Commands)
@click.version_option(package_name="portfolio-state")
def main() -> None:
    """The portfolio state service: what a portfolio holds and what it is worth, right now."""
    log_to_console()
