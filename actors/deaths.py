"""Tells when processes of this machine end, at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from contextlib import suppress

from actors.owner import Owner, is_gone


class Deaths:
    """Watches the processes of owners: `news` is set as soon as one of them has ended.

    A pidfd can be read once its process has ended. Where the kernel has none, whoever looks finds out with `is_gone`.
    """

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._descriptors: dict[str, int] = {}

    def watch(self, owners: Collection[str]) -> None:
        """Watch these, and no others any more."""
        for gone in self._descriptors.keys() - set(owners):
            self._let_go(gone)
        for owner in set(owners) - self._descriptors.keys():
            self._begin(owner)

    def _begin(self, text: str) -> None:
        owner = Owner.parse(text)
        if owner is None:
            return
        with suppress(OSError):
            descriptor = self._descriptors[text] = os.pidfd_open(owner.pid)
            asyncio.get_running_loop().add_reader(descriptor, self._tell, text)
        if is_gone(text):
            # Its number may be another process' by now.
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._let_go(text)
        self.news.set()

    def _let_go(self, text: str) -> None:
        descriptor = self._descriptors.pop(text, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        self.watch(())
