"""The load generator as a process of its own, so that it neither waits for nor holds up whoever measures.

The load comes on standard input, what was observed goes to standard output, both as msgpack.
"""

from __future__ import annotations

import gc
import subprocess
import sys

import msgspec

from benchmarks.load import ClosedLoad, Observed, OpenLoad, run


def applied(load: OpenLoad | ClosedLoad) -> Observed:
    """What a generator of its own observes of `load`. Raises RuntimeError with its last words."""
    child = subprocess.run(
        [sys.executable, "-m", __name__], input=msgspec.msgpack.encode(load), capture_output=True, check=False
    )
    if child.returncode:
        raise RuntimeError(f"the load generator failed: {child.stderr.decode(errors='replace')[-400:]}")
    return msgspec.msgpack.decode(child.stdout, type=Observed)


def main() -> None:
    load = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=OpenLoad | ClosedLoad)
    # A collection would hold up answers that are there.
    gc.freeze()
    gc.disable()
    sys.stdout.buffer.write(msgspec.msgpack.encode(run(load)))


if __name__ == "__main__":
    main()
