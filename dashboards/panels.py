"""What a dashboard shows, apart from how Grafana writes it down: panels, and the queries of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Which workers are looked at: variables of every dashboard.
WORKERS = 'job=~"$job",instance=~"$instance"'
QUANTILES = (0.5, 0.9, 0.99, 0.999)

Look = Literal["lines", "stacked", "heatmap", "number"]


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
    look: Look = "lines"
    width: int = 12


@dataclass(frozen=True)
class Dashboard:
    """One page; ``name`` is the file's and the page's id."""

    name: str
    title: str
    says: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """The increase of a counter a second, summed over workers; ``by`` and ``labels`` as PromQL has them."""
    chosen = f"{WORKERS},{labels}" if labels else WORKERS
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{chosen}}}[$__rate_interval]))"


def quantile(q: float, histogram: str, by: str = "", labels: str = "") -> str:
    """A quantile of a histogram, of all workers together."""
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', f'{by}, le' if by else 'le', labels)})"


def quantiles(histogram: str, labels: str = "") -> tuple[Query, ...]:
    """The usual ones."""
    return tuple(Query(quantile(q, histogram, labels=labels), f"p{100 * q:g}") for q in QUANTILES)


def share(part: str, whole: str) -> str:
    """A part of a whole, 0 where there is nothing."""
    return f"({part}) / ({whole} > 0)"
