"""What is observed for many turns together is the same as one by one, whenever somebody looks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from core.engines.results import ChunkResult, Counts
from core.tasks.reading import shipped
from stream_app.flow.metrics import BATCHES_TOGETHER, LATENCY_BUCKETS, Metrics
from stream_app.flow.task_metrics import TaskMetrics, Together
from stream_app.routes import Route
from tests.strategies import relaxed

rows = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=50)


def histograms() -> tuple[CollectorRegistry, list[Histogram]]:
    registry = CollectorRegistry()
    return registry, [Histogram(name, "Text", buckets=LATENCY_BUCKETS, registry=registry) for name in ("a", "b")]


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    found = (sample for family in registry.collect() for sample in family.samples)
    return {(one.name, one.labels.get("le", "")): one.value for one in found if not one.name.endswith("_created")}


@relaxed
@given(rows)
def test_values_observed_together_count_as_one_by_one(taken: list[tuple[float, float]]) -> None:
    registry, (first, second) = histograms()
    for a, b in taken:
        first.observe(a)
        second.observe(b)
    other, pair = histograms()
    together = Together(pair)
    for row in taken:
        together.add(row)
    together.observe()

    assert samples(other) == pytest.approx(samples(registry))


def test_a_reader_of_the_registry_sees_the_last_turn_and_no_turn_twice() -> None:
    metrics = Metrics()
    shown = TaskMetrics(metrics, Route(shipped("signal"), "source", "output", "changelog", "dead"))
    labels = {"task": "signal", "stage": "decode"}
    for number in range(1, BATCHES_TOGETHER + 3):
        shown.observe_stages(replace(ChunkResult(), decode_s=0.001), 0.002)
        shown.count(ChunkResult(counts=Counts(processed=1, batch_streams=1, batch_steps=1)))
        if number % 250 in (0, 1, 2):
            count = metrics.registry.get_sample_value("caststream_stage_seconds_count", labels)
            sizes = metrics.registry.get_sample_value("caststream_batch_steps_count", {"task": "signal"})
            at = {"task": "signal", "topic": "source", "outcome": "processed"}
            records = metrics.registry.get_sample_value("caststream_records_total", at)
            assert (count, sizes, records) == (number, number, number)
    assert b'caststream_stage_seconds_count{stage="decode",task="signal"} 502.0' in metrics.exposition()


def test_counters_of_a_task_begin_at_zero() -> None:
    """To Prometheus a series that begins at 4,000 has not increased."""
    metrics = Metrics()
    TaskMetrics(metrics, Route(shipped("signal"), "source", "output", "changelog", "dead"))
    at = {"task": "signal", "topic": "source"}

    for name, more in (
        ("records", {"outcome": "processed"}),
        ("duplicates", {"reason": "offset"}),
        ("duplicates", {"reason": "step"}),
    ):
        assert metrics.registry.get_sample_value(f"caststream_{name}_total", at | more) == 0
    assert metrics.registry.get_sample_value("caststream_scores_total", {"task": "signal", "final": "true"}) == 0
