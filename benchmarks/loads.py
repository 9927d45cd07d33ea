"""Loads on a worker: a sender started and awaited, its samples and their outputs found again, latencies and silences.

Times are the broker's append times: both topics have message.timestamp.type=LogAppendTime, in whole milliseconds, so a
single latency is right to 1 ms and means are unbiased. Topics are read when the load is over: reading takes the CPU
time that is being measured.

Shapes: N records or samples.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from live_worker import Meter
from mixed_sender import MixedLoad
from numpy.typing import NDArray
from paced_sender import STARTED, Load

from core.errors import RunError
from core.tasks import Task
from stream_app.clients.admin import NOT_YET
from stream_app.local.child import Child
from stream_app.routes import routes
from stream_app.settings import Settings

READ_AT_ONCE = 10_000
READ_TIMEOUT_S = 60.0
NO_SOURCE = -1
COMMIT_PAUSE_MS = 100  # state records of one commit are closer together than this
BEFORE_COMMIT_MS, AFTER_COMMIT_MS = 20, 50

Integers = NDArray[np.int64]
Ends = tuple[int, ...]  # by partition


@dataclass(frozen=True)
class Times:
    """N records of a topic: partition, offset, timestamp (ms), the header ``source-offset`` or `NO_SOURCE`."""

    partitions: Integers
    offsets: Integers
    times_ms: Integers
    sources: Integers


@dataclass(frozen=True)
class Latencies:
    """N outputs: when their sample was appended, and how much later they were (ms)."""

    appended_ms: Integers
    latency_ms: Integers
    unanswered: int  # samples without output
    repeated: int  # outputs that came again

    def after(self, warm_up_s: float) -> Latencies:
        """Without those of the samples that came in the first ``warm_up_s``."""
        if not len(self.appended_ms):
            return self
        kept = self.appended_ms >= self.appended_ms.min() + 1000 * warm_up_s
        return Latencies(self.appended_ms[kept], self.latency_ms[kept], self.unanswered, self.repeated)


def ends(settings: Settings, topic: str) -> Ends:
    """The offset after the last record, by partition."""
    consumer = _consumer(settings)
    try:
        return tuple(_end(consumer, TopicPartition(topic, partition)) for partition in range(settings.partitions))
    finally:
        consumer.close()


def _end(consumer: Consumer, at: TopicPartition) -> int:
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(at, timeout=READ_TIMEOUT_S)[1])
        except KafkaException as error:  # a topic that was made just now has no leader yet
            if error.args[0].code() not in NOT_YET or time.monotonic() > deadline:
                raise RunError(f"{at.topic}[{at.partition}] has no end: {error}") from error
        time.sleep(0.05)


def wait_for(settings: Settings, topic: str, total: int, quiet_s: float = 60.0, check: Any = lambda: None) -> None:
    """Until the topic's ends sum up to ``total``.

    Args:
        check: called at each look; raises where waiting has become useless.

    Raises:
        RunError: nothing new for ``quiet_s``.
    """
    there, since = -1, time.monotonic()
    while there < total:
        before, there = there, sum(ends(settings, topic))
        check()
        if there > before:
            since = time.monotonic()
        if time.monotonic() - since > quiet_s:
            raise RunError(f"{topic}: nothing new for {quiet_s:g} s, {there:,} of {total:,} records are there")
        if there < total:
            time.sleep(0.2)


def source_offset(message: Any) -> int:
    """The header of an output that says which record it is of."""
    for name, value in message.headers() or ():
        if name == "source-offset":
            return int(value)
    return NO_SOURCE


def read_times(
    settings: Settings,
    topic: str,
    starts: Ends,
    stops: Ends | None = None,
    source_of: Callable[[Any], int] = source_offset,
) -> Times:
    """Read a topic from the given offsets to its end (or ``stops``).

    Args:
        source_of: gives each record's ``sources``; of samples, which have no such header, it may tell streams apart.

    Raises:
        RunError: the broker does not give it.
    """
    stops = stops or ends(settings, topic)
    columns = tuple(array("q") for _ in range(4))
    partitions, offsets, times_ms, sources = columns
    consumer = _consumer(settings)
    left = {partition for partition in range(settings.partitions) if stops[partition] > starts[partition]}
    consumer.assign([TopicPartition(topic, partition, starts[partition]) for partition in left])
    deadline = time.monotonic() + READ_TIMEOUT_S
    try:
        while left:
            for message in consumer.consume(READ_AT_ONCE, 0.2):
                if (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise RunError(f"{topic} cannot be read: {error}")
                    left.discard(message.partition() or 0)
                    continue
                deadline = time.monotonic() + READ_TIMEOUT_S
                partition, offset = message.partition() or 0, message.offset() or 0
                if offset < stops[partition]:
                    partitions.append(partition)
                    offsets.append(offset)
                    times_ms.append(message.timestamp()[1])
                    sources.append(source_of(message))
                if offset >= stops[partition] - 1:
                    left.discard(partition)
            if time.monotonic() > deadline:
                raise RunError(f"{topic}: the broker gives no more records for {READ_TIMEOUT_S:g} s")
    finally:
        consumer.close()
    return Times(*(np.array(column, np.int64) for column in columns))


def _consumer(settings: Settings) -> Consumer:
    config = {"group.id": "bench", "enable.auto.commit": False, "enable.partition.eof": True}
    return Consumer({**settings.client_config(), **config, "isolation.level": "read_committed", "log_level": 3})


def summary(latency_ms: Integers) -> dict[str, float | int]:
    """p50, p90, p99 and max in ms, and over how many."""
    if not len(latency_ms):
        raise RunError("no output has a latency: nothing to sum up")
    p50, p90, p99 = np.percentile(latency_ms, (50, 90, 99))
    return {
        "p50_ms": float(p50),
        "p90_ms": float(p90),
        "p99_ms": float(p99),
        "max_ms": float(latency_ms.max()),
        "mean_ms": float(latency_ms.mean()),
        "samples": len(latency_ms),
    }


def commit_spans(state_records_ms: Integers) -> Integers:
    """Find when commits wrote states: (C, 2), the first and the last record (ms) of each burst of state records."""
    ordered = np.sort(state_records_ms)
    if not len(ordered):
        return np.empty((0, 2), np.int64)
    begins = np.flatnonzero(np.concatenate(([True], np.diff(ordered) > COMMIT_PAUSE_MS)))
    ends = np.concatenate((begins[1:], [len(ordered)])) - 1
    return np.stack((ordered[begins], ordered[ends]), axis=1)


def near_commits(times_ms: Integers, spans: Integers) -> NDArray[np.bool_]:
    """Which times lie around a commit: from 20 ms before its first state record (packing comes before it) to 50 ms
    after its last.
    """
    near = np.zeros(len(times_ms), bool)
    for begin, end in spans:
        near |= (times_ms >= begin - BEFORE_COMMIT_MS) & (times_ms < end + AFTER_COMMIT_MS)
    return near


def around_commits(found: Latencies, spans: Integers) -> dict[str, float | int | None]:
    """p99 (ms) of samples that were appended around a commit, and of all others."""
    near = near_commits(found.appended_ms, spans)
    return {
        "commits": len(spans),
        "p99_near_ms": float(np.percentile(found.latency_ms[near], 99)) if near.any() else None,
        "p99_else_ms": float(np.percentile(found.latency_ms[~near], 99)) if (~near).any() else None,
        "samples_near": int(near.sum()),
    }


UNANSWERED = -1

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Samples in the order of their log, and when each was answered first (N,), `UNANSWERED` where it was not."""

    samples: Times
    answered_ms: Integers
    repeated: int
    """Outputs that came again."""

    @property
    def unanswered(self) -> int:
        """Samples without an output."""
        return int((self.answered_ms == UNANSWERED).sum())

    def latency_ms(self, chosen: Mask | None = None) -> Integers:
        """The latencies of those chosen samples that have an answer."""
        kept = self.answered_ms != UNANSWERED
        if chosen is not None:
            kept &= chosen
        return np.asarray((self.answered_ms - self.samples.times_ms)[kept])


def answers(samples: Times, outputs: Times) -> Answers:
    """Each sample's first output, found by partition and source offset; outputs of other samples do not count."""
    answered = np.full(len(samples.offsets), UNANSWERED, np.int64)
    repeated = 0
    for partition in np.unique(samples.partitions):
        places = np.flatnonzero(samples.partitions == partition)
        places = places[np.argsort(samples.offsets[places], kind="stable")]
        ours = outputs.partitions == partition
        found, repeats = _first_times(samples.offsets[places], outputs.sources[ours], outputs.times_ms[ours])
        answered[places] = found
        repeated += repeats
    return Answers(samples, answered, repeated)


def match(samples: Times, outputs: Times) -> Latencies:
    """Each answered sample with its latency."""
    found = answers(samples, outputs)
    answered = found.answered_ms != UNANSWERED
    return Latencies(samples.times_ms[answered], found.latency_ms(), found.unanswered, found.repeated)


def _first_times(offsets: Integers, sources: Integers, times_ms: Integers) -> tuple[Integers, int]:
    """For ascending offsets the earliest time of each, and how many more there were."""
    places = np.searchsorted(offsets, sources)
    known = places < len(offsets)
    known[known] = offsets[places[known]] == sources[known]
    latest = np.iinfo(np.int64).max
    first = np.full(len(offsets), latest, np.int64)
    np.minimum.at(first, places[known], times_ms[known])
    answered = int((first != latest).sum())
    return np.where(first == latest, UNANSWERED, first), int(known.sum()) - answered


@dataclass(frozen=True)
class Silence:
    """The longest time without an output."""

    begin_ms: int
    end_ms: int

    @property
    def seconds(self) -> float:
        return (self.end_ms - self.begin_ms) / 1000


def longest_silence(times_ms: Integers, begin_ms: int, end_ms: int) -> Silence:
    """Between two times; they count as outputs, so a partition that never goes on is silent to the end."""
    inside = np.sort(times_ms[(times_ms > begin_ms) & (times_ms < end_ms)])
    marks = np.concatenate(([begin_ms], inside, [end_ms]))
    longest = int(np.argmax(np.diff(marks)))
    return Silence(int(marks[longest]), int(marks[longest + 1]))


WARM_UP_S = 3.0
AnyLoad = Load | MixedLoad


def load_of(settings: Settings, kind: Task, **what: Any) -> Load:
    """A load on the source topic of these settings."""
    return Load(
        config=settings.client_config(),
        topic=routes(settings)[kind].source,
        kind=kind,
        partitions=settings.partitions,
        **what,
    )


def mix_of(settings: Settings, kind: Task, mix: str, rate: float, seconds: float, **arguments: Any) -> MixedLoad:
    """A mix (`mixed_sender.py`) on the source topic of these settings."""
    topic, partitions = routes(settings)[kind].source, settings.partitions
    return MixedLoad(settings.client_config(), topic, mix, rate, seconds, partitions, arguments)


class Sending:
    """A sender at work."""

    def __init__(self, load: AnyLoad) -> None:
        self.load = load
        handle, path = tempfile.mkstemp(prefix="caststream-sender-")
        os.close(handle)
        self._output = Path(path)
        command = [sys.executable, load.program, json.dumps(asdict(load))]
        self._child = Child(command, output=self._output, environment=dict(os.environ))

    def wait_until_started(self) -> None:
        """Until its clock runs; what it encodes ahead takes a while."""
        while self._child.running and STARTED not in self._output.read_text():
            time.sleep(0.01)

    def stop(self) -> dict[str, Any]:
        """End a `MixedLoad` before its time; its report."""
        self._child.send_signal(signal.SIGTERM)
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Wait for its end; its report.

        Raises:
            RunError: it failed.
        """
        try:
            self._child.wait()
            printed = self._output.read_text()
        finally:
            self._child.kill()
            self._output.unlink(missing_ok=True)
        if self._child.exit_status:
            raise RunError(f"the sender failed: {printed.strip()[-500:]}")
        report: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return report


def send(load: AnyLoad) -> dict[str, Any]:
    """Send a load and wait until the broker has it."""
    return Sending(load).finish()


class Watch:
    """The ends of the topics of one task before a load, so that the records of the load are found afterwards."""

    def __init__(self, settings: Settings, kind: str, output: str | None = None) -> None:
        self.settings = settings
        route = routes(settings)[kind]
        self.source, self.output, self.changelog = route.source, output or route.output, route.changelog
        self.source_ends = ends(settings, self.source)
        self.output_ends = ends(settings, self.output)
        self.changelog_ends = ends(settings, self.changelog)

    def wait(self, outputs: int, check: Callable[[], None] = lambda: None) -> None:
        """Until so many more outputs are there."""
        wait_for(self.settings, self.output, sum(self.output_ends) + outputs, check=check)

    def latencies(self) -> Latencies:
        """Return the latencies of all samples since, without those of the warm-up."""
        samples = read_times(self.settings, self.source, self.source_ends)
        return match(samples, read_times(self.settings, self.output, self.output_ends)).after(WARM_UP_S)

    def commits(self) -> Any:
        """The spans of the commits since then that wrote states, see `commit_spans`."""
        return commit_spans(read_times(self.settings, self.changelog, self.changelog_ends).times_ms)


def send_measured(
    loads: Sequence[AnyLoad], **pids: int | Sequence[int]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Send loads side by side; the senders' reports, and the cores that processes used, without the warm-up."""
    sending = [Sending(load) for load in loads]
    for each in sending:
        each.wait_until_started()
    time.sleep(WARM_UP_S)
    meter = Meter(**pids)
    reports = [each.finish() for each in sending]
    return reports, meter.cores()
