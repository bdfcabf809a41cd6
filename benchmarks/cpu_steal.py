"""How much of the machine others took while something was measured."""

from __future__ import annotations

from pathlib import Path


class CpuSteal:
    """Stolen CPU time since it was made, from /proc/stat."""

    def __init__(self) -> None:
        self._began = _jiffies()

    def share(self) -> float:
        """The fraction of all CPU time since then that was stolen, 0 to 1."""
        stolen, total = (now - then for now, then in zip(_jiffies(), self._began, strict=True))
        return stolen / total if total else 0.0


def _jiffies() -> tuple[int, int]:
    # cpu user nice system idle iowait irq softirq steal guest guest_nice; the last two are in user and nice already.
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return fields[7], sum(fields)
