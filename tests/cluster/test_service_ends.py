"""However a service ends, it leaves nothing: no process, no shared memory, no runtime directory, no port."""

from __future__ import annotations

import signal
import sys
from typing import Final

import pytest

from tests.cluster.service_process import service_process
from tests.cluster.traces import Traces

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(600)]

# Runs until it is interrupted, or until the file that it is given exists, which is an error then.
SCRIPT: Final = """
import sys, time
from pathlib import Path
from cluster.service import Service
from cluster.settings import Settings
from cluster.signals import interrupt_on_term

interrupt_on_term()
with (service := Service(Settings(), print)).running(), service.serving():
    print("here it is", flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.05)
    raise LookupError("as asked for")
"""


@pytest.mark.parametrize("way", ["TERM", "an exception inside", "Ctrl-C while starting"])
def test_nothing_is_left_when_a_service_ends_by(way: str) -> None:
    with service_process() as service:
        trigger = service.top / "fail"
        service.launch([sys.executable, "-u", "-c", SCRIPT, trigger])
        service.await_log("starting 2 shards" if way == "Ctrl-C while starting" else "here it is")
        traces = Traces(service)
        if way == "an exception inside":
            trigger.touch()
            assert service.wait() == 1
            assert "LookupError: as asked for" in service.log.read_text()
        else:
            assert service.stop(signal.SIGINT if way == "Ctrl-C while starting" else signal.SIGTERM) != 0
            assert "KeyboardInterrupt" in service.log.read_text()
        assert traces.left() == []
