"""Ctrl-C, and what else ends the program from outside, waits until something that must not be cut is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class HeldInterrupts:
    """Inside of the context, handlers of Ctrl-C, SIGTERM and SIGHUP run where `let_go` is called, and at its end.

    Only the main thread has such handlers; elsewhere nothing is held back.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._waiting: tuple[int, FrameType | None] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}
            try:
                for number in self._before:
                    signal.signal(number, self._hold)
            except BaseException:
                self._put_back()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._put_back()
        self.let_go()

    def let_go(self) -> None:
        """Run the handler of a signal that has come meanwhile; it may raise what it likes."""
        if self._waiting is not None:
            (number, frame), self._waiting = self._waiting, None
            self._before[signal.Signals(number)](number, frame)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self._waiting = number, frame

    def _put_back(self) -> None:
        raised: BaseException | None = None
        while True:
            try:
                for number, handler in self._before.items():
                    signal.signal(number, handler)
                break
            except BaseException as error:  # of a signal that is not held back any more: the others come first
                raised = error
        if raised is not None:
            raise raised
