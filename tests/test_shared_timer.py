"""A timer that is put off again and again rings once, when its last time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stream_app.kafka.shared_timer import SharedTimer


class Clock:
    """A loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, call))
        return self.timers[-1]

    def move_to(self, now: float) -> None:
        self.now = now
        for timer in list(self.timers):
            if timer.due <= now and not timer.cancelled:
                timer.cancelled = True
                timer.call()


class Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.cancelled = due, call, False

    def when(self) -> float:
        return self.due

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


@pytest.fixture
def rung(clock: Clock) -> list[float]:
    return []


@pytest.fixture
def timer(clock: Clock, rung: list[float]) -> Any:
    return SharedTimer(lambda: rung.append(clock.now))


def test_it_rings_once_when_its_time_has_come(timer: SharedTimer, clock: Clock, rung: list[float]) -> None:
    timer.set(2.0)
    for now in (1.9, 2.0, 5.0):
        clock.move_to(now)

    assert rung == [2.0]
    assert not timer.is_set


def test_putting_it_off_makes_no_timer(timer: SharedTimer, clock: Clock, rung: list[float]) -> None:
    timer.set(2.0)
    for now in (0.5, 1.0, 1.5):
        clock.move_to(now)
        timer.set(2.0)
    assert len(clock.timers) == 1

    for now in (2.0, 3.4, 3.5):
        clock.move_to(now)
    assert rung == [3.5]


def test_an_earlier_time_counts(timer: SharedTimer, clock: Clock, rung: list[float]) -> None:
    timer.set(2.0)
    timer.set(1.0)
    for now in (1.0, 2.0):
        clock.move_to(now)

    assert rung == [1.0]


def test_one_that_is_stopped_does_not_ring_until_it_is_set_again(
    timer: SharedTimer, clock: Clock, rung: list[float]
) -> None:
    timer.set(1.0)
    timer.stop()
    clock.move_to(1.0)
    assert rung == []

    timer.set(1.0)
    clock.move_to(2.0)
    assert rung == [2.0]
