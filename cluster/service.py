"""One whole service inside this process, for tests and benchmarks. `portfolio-state up` serves in a child of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from actors.gateway import Gateway
from cluster.console import Report
from cluster.hosting import hosting
from cluster.serving import Serving
from cluster.settings import Settings


class Service:
    """`running` starts everything but the REST front, which `serving` adds."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self.settings = settings
        self._report = report
        self._serving: Serving | None = None

    @contextmanager
    def running(self) -> Iterator[Gateway]:
        """The service with its shards serving; stopped in good order at the end, whatever happened."""
        with hosting(self.settings, self._report) as hosted:
            self._serving = Serving(hosted.settings, self._report)
            with self._serving.running() as gateway:
                yield gateway
                self._report("stopping")

    def serving(self) -> AbstractContextManager[None]:
        """The REST front, on top of a running service."""
        assert self._serving is not None, "only inside running()"
        return self._serving.front()
