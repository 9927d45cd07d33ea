"""The live producer: sends what the streams give at their pace, through the proxy, whatever happens to the broker."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Producer

from stream_app.settings import Settings
from tests.faults.streams import CastingStream, Habits, PumpStream, Record, SignalStream, Stream

FLUSH_S = 60.0
TURN_S = 0.01


@dataclass(frozen=True)
class LoadPlan:
    """Who sends how much.

    ``idempotent``: else the producer's retries may write a record twice, and in another order.
    """

    signals: int = 40
    signal_hz: float = 30.0
    strands: int = 8
    strand_hz: float = 20.0
    pumps: int = 6
    pump_hz: float = 20.0
    seconds: float = 12.0
    idempotent: bool = True
    habits: Habits = field(default_factory=Habits)

    def streams(self, partitions: int, seed: str) -> Iterator[tuple[Stream, float]]:
        """Each stream, and its samples per second."""
        for kind, count, hz in (
            (SignalStream, self.signals, self.signal_hz),
            (CastingStream, self.strands, self.strand_hz),
            (PumpStream, self.pumps, self.pump_hz),
        ):
            for number in range(count):
                yield kind(number, partitions, seed, self.habits), hz


class LiveLoad:
    """Sends in a thread of its own, until `stop`.

    Args:
        plan: what to send.
        settings: the topics; ``broker`` is where the producer connects.
        seed: of the streams.
    """

    def __init__(self, plan: LoadPlan, settings: Settings, seed: str) -> None:
        self.sent = 0
        self.errors: list[str] = []
        self._plan = plan
        self._streams = list(plan.streams(settings.partitions, seed))
        self._settings = settings
        self._producer = self._new_producer()
        self._running = threading.Event()
        self._stopping = False
        self._turn = threading.Lock()
        now = time.monotonic()
        self._due: list[tuple[float, int, float, Iterator[Record]]] = [
            (now + number / 1000, number, 1 / hz, iter(stream)) for number, (stream, hz) in enumerate(self._streams)
        ]
        heapq.heapify(self._due)
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def restarts(self) -> int:
        """How often a stream's counter has begun again in the middle of a sequence."""
        return sum(stream.restarts for stream, _ in self._streams)

    def start(self) -> None:
        """Begin to send."""
        self._running.set()
        self._thread.start()

    def pause(self) -> None:
        """Send nothing until `resume`; all that was sent has arrived.

        Raises:
            TimeoutError: it has not.
        """
        self._running.clear()
        with self._turn:
            self._flush()

    def resume(self) -> None:
        """Go on."""
        late_s = time.monotonic() - self._due[0][0]
        self._due = [(due + late_s, number, pause_s, stream) for due, number, pause_s, stream in self._due]
        self._running.set()

    def renew(self) -> None:
        """While paused: go on with a producer that knows the topics as they are now."""
        self._producer = self._new_producer()

    def burst(self, records: int) -> None:
        """While paused: send so many records at once."""
        for _ in range(records):
            self._send_next(time.monotonic())
        self._flush()

    def stop(self) -> None:
        """Send no more; returns when everything has arrived.

        Raises:
            TimeoutError: it has not.
        """
        self._stopping = True
        self._running.set()
        self._thread.join()
        self._flush()

    def abandon(self) -> None:
        """Send no more, and wait for nothing."""
        self._stopping = True
        self._running.set()
        self._producer.purge()

    def _run(self) -> None:
        while not self._stopping:
            self._running.wait()
            with self._turn:
                now = time.monotonic()
                while self._due[0][0] <= now and self._running.is_set():
                    self._send_next(now)
                self._producer.poll(0)
            time.sleep(TURN_S)

    def _send_next(self, now: float) -> None:
        due, number, pause_s, stream = self._due[0]
        record = next(stream)
        if record.topic:
            self._send(record)
        # One that was held up does not catch up: a producer samples now.
        heapq.heapreplace(self._due, (max(due, now - 0.1) + pause_s + record.pause_s, number, pause_s, stream))

    def _send(self, record: Record) -> None:
        self.sent += 1
        self._producer.produce(
            self._settings.topic(record.topic),
            partition=record.partition,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            on_delivery=self._delivered,
        )

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self.errors.append(error.str())

    def _flush(self) -> None:
        left = self._producer.flush(FLUSH_S)
        if left:
            raise TimeoutError(f"{left} records have not arrived within {FLUSH_S:g} s")

    def _new_producer(self) -> Producer:
        return Producer(
            {
                **self._settings.client_config(),
                "enable.idempotence": self._plan.idempotent,
                "acks": "all",
                "linger.ms": 2,
                "max.in.flight.requests.per.connection": 5,
                "queue.buffering.max.messages": 1_000_000,
                # Outages of these schedules are short, and its patience is to outlast them.
                "message.timeout.ms": 300_000,
                "request.timeout.ms": 3_000,
                "socket.timeout.ms": 4_000,
                "retry.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
