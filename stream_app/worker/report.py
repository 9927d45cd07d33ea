"""A worker process reports to its supervisor over a pipe: that it is ready, and why it ends."""

from __future__ import annotations

import contextlib
import os

_READY, _FOR_GOOD, _WHY = b"ready", b"for good", b"why "
_LONGEST_BYTES = 2000  # below what a pipe takes in one piece


class Reporter:
    """The worker's end.

    Args:
        descriptor: of the pipe; None where nobody listens.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def ready(self) -> None:
        """Report that the process has been ready once."""
        self._tell(_READY)

    def ends(self, why: str, for_good: bool = False) -> None:
        """Report that the process ends, for this reason; ``for_good``: no other process may continue in its place."""
        if for_good:
            self._tell(_FOR_GOOD)
        self._tell(_WHY + " ".join(why.split()).encode()[:_LONGEST_BYTES])

    def _tell(self, line: bytes) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a supervisor that is gone needs nothing
                os.write(self._descriptor, line + b"\n")


class WorkerReport:
    """The supervisor's end of the pipe: the reports of one process."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._heard = b""

    def handed_over(self) -> None:
        """The process has its end: ours of the same is closed."""
        os.close(self.writing)

    def close(self) -> None:
        """Read what is left, and no more."""
        self._listen()
        os.close(self._reading)
        self._reading = -1

    @property
    def ready(self) -> bool:
        """True if it has been ready."""
        return _READY in self._lines()

    @property
    def for_good(self) -> bool:
        """True if no process may continue until an operator has decided."""
        return _FOR_GOOD in self._lines()

    @property
    def why(self) -> str:
        """The reason of its end, "" where it did not say."""
        said = [line.removeprefix(_WHY) for line in self._lines() if line.startswith(_WHY)]
        return said[-1].decode(errors="replace") if said else ""

    def _lines(self) -> list[bytes]:
        self._listen()
        return self._heard.split(b"\n")

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reading >= 0 and (more := os.read(self._reading, 65536)):
                self._heard += more
