"""`portfolio-state up`. It supervises, and never imports Ray: a Ray that dies takes the processes that joined it along."""

from __future__ import annotations

import sys

import click

from cluster.console import console, report
from cluster.settings import Settings
from cluster.signals import interrupt_on_term
from cluster.supervisor import NeverServed, Supervisor
from persistence.embedded.errors import EmbeddedServerError
from portfolio.errors import PortfolioError


@click.command()
@click.option("--sample", is_flag=True, help="Load the sample portfolios first, if the database is empty.")
def up(sample: bool) -> None:
    """Start the service and serve until Ctrl-C."""
    interrupt_on_term()
    try:
        Supervisor(Settings(), report, sample=sample).run()
    except KeyboardInterrupt:
        console.print("stopped")
    except NeverServed:
        sys.exit(1)
    except (EmbeddedServerError, PortfolioError, OSError) as error:
        raise click.ClickException(str(error)) from error
