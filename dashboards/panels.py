"""The content of a dashboard, apart from Grafana's format: panels, and the queries of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stream_app.flow.metrics import PROBABILITY_BUCKETS

# Which workers and tasks are looked at: variables of every dashboard.
WORKERS = 'job=~"$job",instance=~"$instance"'
TASKS = f'{WORKERS},task=~"$task"'
TASKS_AND_COMMITS = f'{WORKERS},task=~"$task|"'  # a commit is of no task
CHOICES = ("$job", "$instance", "$task")
QUANTILES = (0.5, 0.9, 0.99, 0.999)
THRESHOLDS = tuple(f"{bound:g}" for bound in PROBABILITY_BUCKETS[:-1])
USUAL_THRESHOLD = "0.1"
"""The bound next to the shipped model's own."""

TaskKind = Literal["step", "window"]
"""The kind of a task, as its file has it."""
PanelLook = Literal["lines", "stacked", "heatmap", "number"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and what its lines are called: a text with ``{{label}}``."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        unit: one of Grafana's: ``s``, ``cps`` (a second), ``percentunit`` (0..1), ``bytes``, ``short``.
        says: what is to be seen, and what is to be worried about.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    says: str
    look: PanelLook = "lines"
    width: int = 12


@dataclass(frozen=True)
class Dashboard:
    """One page; ``name`` is the file's and the page's id."""

    name: str
    title: str
    says: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "", labels: str = "", of: str = TASKS, kind: TaskKind | None = None) -> str:
    """The increase of a counter a second, summed over workers.

    ``by`` and ``labels`` are as PromQL has them; ``of`` says which series are looked at; ``kind`` leaves tasks of that
    kind alone.
    """
    chosen = f"{of},{labels}" if labels else of
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({of_kind(f'rate({metric}{{{chosen}}}[$__rate_interval])', kind)})"


def of_kind(expression: str, kind: TaskKind | None) -> str:
    """The series of an expression whose tasks are of a kind; all, if it is None."""
    if kind is None:
        return expression
    return f'{expression} and on (task) caststream_task_info{{{TASKS},kind="{kind}"}}'


def quantile(
    q: float, histogram: str, by: str = "", labels: str = "", of: str = TASKS, kind: TaskKind | None = None
) -> str:
    """A quantile of a histogram, of all workers together; the arguments as `rate` has them."""
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', f'{by}, le' if by else 'le', labels, of, kind)})"


def quantiles(
    histogram: str, labels: str = "", levels: Sequence[float] = QUANTILES, of: str = TASKS, kind: TaskKind | None = None
) -> tuple[Query, ...]:
    """One query for each of the ``levels``, with the legend ``p50``, ``p99.9``."""
    return tuple(Query(quantile(q, histogram, "", labels, of, kind), f"p{100 * q:g}") for q in levels)


def share(part: str, whole: str) -> str:
    """A part of a whole; no value where the whole is 0."""
    return f"({part}) / ({whole} > 0)"


def fill_variables(expression: str, window: str) -> str:
    """An expression as Grafana sends it, of all workers; ``window`` of rates is a PromQL duration."""
    values = {"$__rate_interval": window, "$threshold": USUAL_THRESHOLD, **dict.fromkeys(CHOICES, ".*")}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression
