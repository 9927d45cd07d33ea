"""Settings of the whole process that a training makes and takes back: randomness, threads, Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from core.training.config import TrainingSettings

Stopped = Literal["max_minutes", "interrupted"]


@contextmanager
def reproducible(settings: TrainingSettings) -> Iterator[None]:
    """Inside the block the seed alone decides what torch draws and computes on one kind of device.

    Threads, the choice of algorithms and the state of torch's generators are as before afterwards.
    """
    threads = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # torch makes its attributes by hand
    fill = memory.fill_uninitialized_memory
    if settings.device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it torch refuses to be deterministic
    with own_randomness(settings.device):
        try:
            torch.set_num_threads(settings.threads)
            torch.use_deterministic_algorithms(True)
            memory.fill_uninitialized_memory = False  # finds bugs, costs 8 % of an update, changes no result
            torch.manual_seed(settings.seed)
            yield
        finally:
            memory.fill_uninitialized_memory = fill
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.set_num_threads(threads)


@contextmanager
def own_randomness(device: str) -> Iterator[None]:
    """Draw inside the block without moving any draw after it."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(device, state)


def random_state(device: str) -> dict[str, Tensor]:
    """The state of torch's generators that a training on ``device`` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device != "cpu":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: str, state: dict[str, Tensor]) -> None:
    """Go on from a `random_state`; one that was taken on the CPU leaves CUDA's generator as it is."""
    torch.set_rng_state(state["cpu"])
    if device != "cpu" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class Stop:
    """The wish to end training: its time is up, or Ctrl-C was pressed.

    Inside the block the first Ctrl-C is only remembered, so that it never cuts an update or a save in two; the second
    one raises KeyboardInterrupt as always.
    """

    def __init__(self, max_minutes: float | None) -> None:
        self._began = time.monotonic()
        self._limit_s = math.inf if max_minutes is None else 60.0 * max_minutes
        self._before: Any = None
        self._interrupted = False

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # signals arrive nowhere else
            self._before = signal.signal(signal.SIGINT, lambda number, frame: self.interrupt())
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def interrupt(self) -> None:
        """End before the next update; asked twice, at once.

        Raises:
            KeyboardInterrupt: the second time.
        """
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    @property
    def passed(self) -> float:
        """The share of the time limit that has passed; 0 without a limit."""
        return (time.monotonic() - self._began) / self._limit_s

    def reason(self) -> Stopped | None:
        """The reason to end now, or None."""
        if self._interrupted:
            return "interrupted"
        if self.passed >= 1.0:
            return "max_minutes"
        return None
