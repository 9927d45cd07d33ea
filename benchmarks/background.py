"""Something that is looked at again and again beside a load, in a thread of its own."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self


class Background:
    """Runs `work` in a thread while the context is open; `over` is set when it is to end."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.work, daemon=True)

    def work(self) -> None:
        """What a subclass does until ``over``."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join()
