"""`portfolio-state ray-environment`."""

from __future__ import annotations

import click

from cluster import ray_profile


@click.command("ray-environment")
def ray_environment() -> None:
    """Print the variables that `ray start` needs on every node, as commands for the shell."""
    for name, value in ray_profile.for_ray_start().items():
        click.echo(f"export {name}={value}")
