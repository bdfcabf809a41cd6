"""What every embedded server has in common towards the code that uses it."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class EmbeddedServer(ABC):
    """A server that runs within a `with` block: started on entering, stopped on leaving, whatever happened."""

    @abstractmethod
    def start(self) -> None:
        """Return once the server answers."""

    @abstractmethod
    def stop(self) -> None:
        """End the server; nothing happens if it was not started."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
