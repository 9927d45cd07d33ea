"""The page of all metrics, from the registry of a worker."""

from __future__ import annotations

from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from core.engines.state import RESETS
from core.wire.reasons import REASON_TEXTS
from stream_app.flow.metrics import OUTCOMES, Metrics
from tools.docs.tables import code, page, table

INTRODUCTION = """
A worker serves these at `/metrics` ([how](../operations.md#watching-a-worker)). Times are seconds and sizes are
bytes. `task` is the name of a task. In `caststream_latency_seconds`, `topic` is
the output topic; in all other metrics it is the source topic. No label is ever a stream.
"""
HISTOGRAMS = """
A histogram `NAME` has the series `NAME_bucket` with the label `le`, `NAME_sum` and `NAME_count`.
"""
PROCESS = """
Beside its own, a worker has the usual metrics of the Python client: `process_*` (CPU time, memory, open files,
start time), `python_gc_*` and `python_info`.
"""


def metrics_page() -> str:
    """Every metric of caststream with its type, its labels and its help; then the values of labels."""
    rows = [
        (code(_series(metric)), str(metric._type), ", ".join(map(code, metric._labelnames)) or "none", _buckets(metric))
        for metric in own_metrics()
    ]
    return page(
        "Metrics",
        INTRODUCTION,
        table(("metric", "type", "labels", "meaning"), rows),
        HISTOGRAMS,
        "## Values of labels",
        table(("label", "of", "values"), _values()),
        "## Metrics of the process",
        PROCESS,
    )


def own_metrics() -> list[MetricWrapperBase]:
    """caststream's own metrics, in the order in which they are declared."""
    found = [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]
    return [metric for metric in found if not metric._labelvalues]


def _series(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def _buckets(metric: MetricWrapperBase) -> str:
    if not isinstance(metric, Histogram):
        return metric._documentation
    bounds = metric._kwargs["buckets"]
    return f"{metric._documentation}; buckets from {bounds[0]:g} to {bounds[-1]:g}"


def _values() -> list[tuple[str, str, str]]:
    def of(label: str, metrics: str, values: tuple[str, ...]) -> tuple[str, str, str]:
        return code(label), code(metrics), ", ".join(map(code, values))

    return [
        of("outcome", "caststream_records_total", OUTCOMES),
        of("reason", "caststream_duplicates_total", ("offset", "step")),
        ("`reason`", "`caststream_dead_letters_total`", f"the [{len(REASON_TEXTS)} reasons](reasons.md)"),
        of("reason", "caststream_resets_total", RESETS),
        of("stage", "caststream_stage_seconds", ("decode", "infer", "publish", "pack", "commit")),
        of("final", "caststream_scores_total", ("true", "false")),
    ]
