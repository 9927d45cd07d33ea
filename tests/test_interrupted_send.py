"""Ctrl-C while records are handed over to Kafka's library: what was sent is counted exactly."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import sink as sinks
from replay.held_interrupts import HeldInterrupts
from replay.sink import KafkaSink

PARTITIONS = 3


@pytest.fixture(autouse=True, scope="module")
def interrupts() -> Iterator[None]:
    """A program that is started in the background ignores Ctrl-C, and so do its children: these tests do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Library:
    """A producer that takes every record, some after a refusal, and is interrupted right after it took one."""

    def __init__(self, at: int, full_at: int) -> None:
        self.taken: list[bytes] = []
        self._waiting: list[Any] = []
        self._at, self._full_at = at, full_at

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions=range(PARTITIONS))})

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, asked: Any) -> None:
        if len(self.taken) == self._full_at:
            self._full_at = -1
            raise BufferError
        self.taken.append(key)
        self._waiting.append(asked)
        if len(self.taken) == self._at:
            signal.raise_signal(signal.SIGINT)

    def poll(self, timeout: float) -> int:
        return self.flush(timeout)

    def flush(self, timeout: float) -> int:
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            if asked is not None:
                asked(None, None)
        return 0

    def purge(self) -> None:
        return

    def __len__(self) -> int:
        return len(self._waiting)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 31), st.integers(-1, 30))
def test_what_was_handed_over_is_counted_wherever_the_signal_comes(keys: list[int], at: int, full_at: int) -> None:
    library = Library(at, full_at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinks, "Producer", lambda *_, **__: library)
        sink = KafkaSink({}, "t")
    interrupted = False

    try:
        sink.send([(b"k%d" % key, b"") for key in keys])
    except KeyboardInterrupt:
        interrupted = True
    sink.close(1.0)

    assert interrupted == (at <= len(keys))
    assert Counter(library.taken) == {key: count for key, count in sink.acked.items() if count}
    assert len(library.taken) == (at if interrupted else len(keys))


def test_signals_wait_for_the_end_and_find_their_handlers_again() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    done = []

    def work() -> None:
        with HeldInterrupts() as held:
            held.let_go()
            signal.raise_signal(signal.SIGINT)
            done.append("after the signal")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert done == ["after the signal"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_another_thread_holds_nothing_back() -> None:
    found = []

    def hold() -> None:
        with HeldInterrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()

    assert found == [signal.getsignal(signal.SIGINT)]
