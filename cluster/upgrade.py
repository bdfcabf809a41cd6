"""Brings the code that is on disk now into a service that goes on serving."""

from __future__ import annotations

import logging

from cluster import client, front
from cluster.console import Report
from cluster.settings import Settings
from persistence.embedded.postgres import running_address


def upgrade(settings: Settings, report: Report) -> None:
    """Replace the processes of a running service one after the other, while callers write.

    Serve starts the new front before it stops the old one, which finishes what it has begun. Raises ConnectionError if
    no service runs, and as `front.deploy` does.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    client.attach(settings)
    report("replacing the REST front")
    front.deploy(settings, settings.postgres_dsn or running_address(settings.data_dir))
    report("upgraded")
