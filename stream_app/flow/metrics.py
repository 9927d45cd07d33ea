"""Prometheus metrics of one worker: base units, labels from small fixed sets, never a stream id.

Faust's own are not used: its latencies stay 0 with ``take``, and its table routes are wrong with several workers
(faust-streaming/faust, issues 319 and 514).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from core.arrays import Float64s, Int64s

LATENCY_BUCKETS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# Latencies are observed for this many batches of outputs together: one by one they were 9 % of a worker's time at 5,000
# samples/s, when batches are small.
BATCHES_TOGETHER = 500
OUTCOMES = ("processed", "duplicate", "late", "dead_letter")
PROBABILITY_BUCKETS = tuple(i / 20 for i in range(1, 21))


def observe_many(histogram: Histogram, values: Sequence[float] | np.ndarray) -> None:
    """Observe many values at the cost of one: `Histogram.observe` takes a microsecond or more for each.

    prometheus_client has no public call for this; the two private attributes are those that `observe` itself uses.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return
    counts = np.bincount(np.searchsorted(histogram._upper_bounds, array, side="left"))
    for index in np.flatnonzero(counts).tolist():
        histogram._buckets[index].inc(float(counts[index]))
    histogram._sum.inc(float(array.sum()))


class Gathered(Collector):
    """Observes all gathered values before a registry is read.

    At low load, values that were observed one by one took a tenth of what a record costs.
    """

    def __init__(self) -> None:
        self.observe: list[Callable[[], None]] = []

    def collect(self) -> Iterable[Metric]:
        for observe in self.observe:
            observe()
        return ()


class Metrics:
    """All metrics of one worker process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.gathered = Gathered()
        self.gathered.observe.append(self._observe_latencies)
        self.registry.register(self.gathered)  # the first: it is asked before those that it fills
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"caststream_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"caststream_{name}", text, labels, registry=self.registry)

        def of_topic(*more: str) -> list[str]:
            return ["task", "topic", *more]

        def histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
            return Histogram(f"caststream_{name}", text, labels, buckets=buckets, registry=self.registry)

        self.records = counter("records", "Records of a source topic, each with one outcome", of_topic("outcome"))
        self.duplicates = counter(
            "duplicates", "Records that were applied before, by how this was seen", of_topic("reason")
        )
        self.repeating_streams = counter(
            "repeating_streams", "Times that a stream sent ten records in a row with steps sent before", of_topic()
        )
        self.dead_letters = counter(
            "dead_letters", "Records of a source topic that could not be used", of_topic("reason")
        )
        self.resets = counter("resets", "Hidden states set to zero", ["task", "reason"])
        self.near_misses = counter(
            "near_miss_fields", "Samples accepted without a field whose name was nearly right", of_topic("field")
        )
        self.gaps = counter("gaps", "Places where steps were missing in a sequence", ["task"])
        self.records_lost = counter("records_lost", "Records that Kafka deleted before they were read", ["task"])
        self.not_finite = counter(
            "outputs_not_finite", "Outputs that are null because the model gave no number", of_topic()
        )
        self.far_outside = counter(
            "out_of_training_range",
            "Samples with a value far outside of what the model was trained on",
            of_topic("field"),
        )
        self.abnormal = counter(
            "abnormal", "Samples with a value outside of what the task declares as normal", ["task", "field"]
        )
        self.held = counter(
            "held_fields", "Records without a field, for which its last value stood in", ["task", "field"]
        )
        self.left_out = counter(
            "outputs_left_out",
            "Outputs not published again after a crash, because they are published already",
            of_topic(),
        )
        self.moved_streams = counter("moved_streams", "Streams that came in a second partition", ["task"])
        self.scores = counter("scores", "Scores of windows published", ["task", "final"])
        self.score_probability = histogram(
            "score_probability", "Probabilities of the published scores of windows", PROBABILITY_BUCKETS, ["task"]
        )
        self.latency = histogram(
            "latency_seconds",
            "Time from the append of a sample to the acknowledgement of its output",
            LATENCY_BUCKETS,
            of_topic(),
        )
        self.stages = histogram(
            "stage_seconds",
            "Time of a stage of a chunk, or of a commit, which is of no task",
            LATENCY_BUCKETS,
            ["task", "stage"],
        )
        self.batch_streams = histogram("batch_streams", "Streams in one call of a model", SIZE_BUCKETS, ["task"])
        self.batch_steps = histogram("batch_steps", "Steps in one call of a model", SIZE_BUCKETS, ["task"])
        self.ready = gauge(
            "ready", "1 while partitions are assigned, tables recovered, and the group's coordinator answers; else 0"
        )
        self.active_streams = gauge("active_streams", "Streams whose state is in memory", ["task", "table"])
        self.lag = gauge(
            "consumer_lag_records",
            "Log end minus committed offset, of the partitions that this worker has; no series if unknown",
            of_topic("partition"),
        )
        self.commit_age = gauge("commit_age_seconds", "Seconds since the last commit")
        self.task_info = gauge(
            "task_info", "Always 1; the labels name the tasks that run, and their kinds", ["task", "kind"]
        )
        self.model_info = gauge(
            "model_info", "Always 1; the labels name the models in use", ["task", "model", "fingerprint"]
        )
        self._latencies: defaultdict[str, list[tuple[int, Int64s]]] = defaultdict(list)
        """Topic -> the times (ns) of acknowledgements, each with the append times of what was acknowledged."""
        self.tasks: dict[str, str] = {}
        """Source or output topic -> its task."""
        self.last_commit = time.monotonic()
        self.commit_age.set_function(lambda: time.monotonic() - self.last_commit)

    @contextmanager
    def stage(self, name: str, task: str = "") -> Iterator[None]:
        """Time one stage, of a task or of all."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages.labels(task, name).observe(time.perf_counter() - started)

    def acked(self, topic: str, appended_ms: Int64s) -> None:
        """The broker has the outputs of records that were appended at these times."""
        waiting = self._latencies[topic]
        waiting.append((time.time_ns(), appended_ms))
        if len(waiting) >= BATCHES_TOGETHER:
            self._observe_latencies()

    def _observe_latencies(self) -> None:
        for topic, waiting in self._latencies.items():
            observe_many(self.latency.labels(self.tasks.get(topic, ""), topic), _latencies(waiting))
        self._latencies.clear()

    def committed(self) -> None:
        """A commit has succeeded."""
        self.last_commit = time.monotonic()

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


def _latencies(acked: Sequence[tuple[int, Int64s]]) -> Float64s:
    """Return seconds. Two clocks are compared, the broker's and ours: on one machine they agree, elsewhere a skew must
    not go below zero.
    """
    return np.concatenate([np.maximum((now_ns / 1e6 - appended_ms) / 1000, 0.0) for now_ns, appended_ms in acked])
