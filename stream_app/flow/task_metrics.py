"""The metrics of one task: every series has the task's name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from prometheus_client import Histogram

from core.engines.results import ChunkResult, Counts
from core.native.names import near_field_of
from stream_app.flow.metrics import BATCHES_TOGETHER, OUTCOMES, Metrics, observe_many
from stream_app.routes import Route


class Together:
    """Gathers rows of values, one for each of some histograms, and observes many rows at the cost of one."""

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        self._histograms = histograms
        self._rows: list[tuple[float, ...]] = []

    def add(self, row: tuple[float, ...]) -> None:
        """Take a value for each histogram."""
        self._rows.append(row)
        if len(self._rows) >= BATCHES_TOGETHER:
            self.observe()

    def observe(self) -> None:
        """Observe what was taken."""
        rows, self._rows = self._rows, []
        for histogram, values in zip(self._histograms, zip(*rows, strict=True), strict=False):
            observe_many(histogram, values)


class TaskMetrics:
    """Counts and times what comes of one source topic.

    Args:
        metrics: those of the worker.
    """

    def __init__(self, metrics: Metrics, route: Route) -> None:
        self.all = metrics
        self._task, self._topic = route.task, route.source
        self._normal = any(field.normal is not None for field in route.declaration.fields)
        metrics.tasks |= dict.fromkeys((route.source, route.output), route.task)
        metrics.task_info.labels(route.task, route.kind).set(1)
        stages = [metrics.stages.labels(route.task, name) for name in ("decode", "infer", "publish")]
        self.infer = stages[1]
        self._times = Together(stages)
        self.gaps, self.moved_streams, self.records_lost = (
            counter.labels(route.task) for counter in (metrics.gaps, metrics.moved_streams, metrics.records_lost)
        )
        self._sizes = Together([metrics.batch_streams.labels(route.task), metrics.batch_steps.labels(route.task)])
        metrics.gathered.observe += (self._times.observe, self._sizes.observe, self._count_outcomes)
        self.left_out = metrics.left_out.labels(route.task, route.source)
        # From 0 on: to Prometheus a series that begins at 4,000 has not increased.
        self._records = [metrics.records.labels(route.task, route.source, outcome) for outcome in OUTCOMES]
        self._counted = [0] * len(OUTCOMES)
        for reason in Counts().duplicates:
            metrics.duplicates.labels(route.task, route.source, reason)
        for final in ("true", "false"):
            metrics.scores.labels(route.task, final)
        self._repeating = metrics.repeating_streams.labels(route.task, route.source)
        self._not_finite = metrics.not_finite.labels(route.task, route.source)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time one stage."""
        return self.all.stage(name, self._task)

    def observe_stages(self, result: ChunkResult, total_s: float) -> None:
        """The stages of a chunk: decoding, the models, and all that remains of ``total_s``, which is publishing."""
        self._times.add((result.decode_s, result.infer_s, total_s - result.decode_s - result.infer_s))

    def count(self, result: ChunkResult) -> None:
        """Count everything that a chunk's result tells."""
        counts, at, task = result.counts, (self._task, self._topic), self._task
        self._outcomes(result)
        for reason, count in counts.duplicates.items():
            if count:
                self.all.duplicates.labels(*at, reason).inc(count)
        if counts.repeating:
            self._repeating.inc(counts.repeating)
        for letter in result.dead_letters:
            self.all.dead_letters.labels(*at, letter.reason).inc()
        for reason, count in counts.resets.items():
            self.all.resets.labels(task, reason).inc(count)
        for near, count in counts.near_misses.items():
            self.all.near_misses.labels(*at, near_field_of(near)).inc(count)
        if counts.gaps:
            self.gaps.inc(counts.gaps)
        if counts.moved:
            self.moved_streams.inc(counts.moved)
        for name, count in counts.far_outside.items():
            (self.all.abnormal.labels(task, name) if self._normal else self.all.far_outside.labels(*at, name)).inc(
                count
            )
        for name, count in counts.held.items():
            self.all.held.labels(task, name).inc(count)
        self.count_outputs(counts)

    def _outcomes(self, result: ChunkResult) -> None:
        counts, waiting = result.counts, self._counted
        waiting[0] += counts.processed
        waiting[1] += sum(counts.duplicates.values())
        waiting[2] += counts.late
        waiting[3] += len(result.dead_letters) - counts.late

    def _count_outcomes(self) -> None:
        """Count what was gathered."""
        counted, self._counted = self._counted, [0] * len(OUTCOMES)
        for outcome, count in zip(self._records, counted, strict=True):
            outcome.inc(count)

    def count_outputs(self, counts: Counts) -> None:
        """Count a run of the model, and the scores that it gave."""
        if counts.not_finite:
            self._not_finite.inc(counts.not_finite)
        if counts.batch_streams:
            self._sizes.add((counts.batch_streams, counts.batch_steps))
        for final, count in counts.scores.items():
            if count:
                self.all.scores.labels(self._task, "true" if final else "false").inc(count)
        if len(counts.probabilities):
            observe_many(self.all.score_probability.labels(self._task), counts.probabilities)

    def show_model(self, model: str, fingerprint: str) -> None:
        """Show the model that the task runs."""
        self.all.model_info.labels(self._task, model, fingerprint).set(1)

    def show_active(self, table: str, streams: int) -> None:
        """Show the streams in memory."""
        self.all.active_streams.labels(self._task, table).set(streams)
