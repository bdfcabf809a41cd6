"""`portfolio-state upgrade`."""

from __future__ import annotations

import click
from ray.exceptions import RayError

from cluster.console import report
from cluster.settings import Settings
from cluster.upgrade import upgrade as upgrade_service
from persistence.embedded.errors import EmbeddedServerError
from portfolio.errors import PortfolioError


@click.command()
def upgrade() -> None:
    """Bring the code that is on disk now into the running service, which goes on serving."""
    try:
        upgrade_service(Settings(), report)
    except (EmbeddedServerError, PortfolioError, RayError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error)) from error
