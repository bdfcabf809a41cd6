"""What a command tells its terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.logging import RichHandler

Report = Callable[[str], None]
console: Final = Console(highlight=False)


def log_to_console() -> None:
    """Show warnings of every part of this process."""
    handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


def report(step: str) -> None:
    """Say what is being done, and when."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {step}", soft_wrap=True)
