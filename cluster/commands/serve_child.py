"""`portfolio-state serve-child`: the process that `up` runs to serve."""

from __future__ import annotations

import sys

import click
from ray.exceptions import RayError

from cluster.child import ExitCode
from cluster.ray_start import RayTooLate
from cluster.serve_child import serve
from cluster.settings import Settings
from cluster.signals import interrupt_on_term
from portfolio.errors import PortfolioError


@click.command("serve-child", hidden=True)
@click.option("--first", is_flag=True)
@click.option("--sample", is_flag=True)
def serve_child(first: bool, sample: bool) -> None:
    """What `up` runs to serve, with Ray."""
    interrupt_on_term()
    try:
        serve(Settings(), is_first=first, sample=sample)
    except KeyboardInterrupt:
        sys.exit(0)
    except RayTooLate as error:
        raise _Late(str(error)) from error
    except (PortfolioError, RayError, TimeoutError, OSError) as error:
        raise click.ClickException(str(error)) from error


class _Late(click.ClickException):
    exit_code = ExitCode.RAY_LATE
