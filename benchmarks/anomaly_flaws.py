"""Which flaws a set of data has that the literature warns of, found by measuring.

Source of the four: Wu and Keogh, "Current time series anomaly detection benchmarks are flawed and are creating the
illusion of progress", TKDE 2021.

- Trivial: one line of code finds the anomalies. The best AUC-PR of a few such lines is given.
- Density: too many samples are anomalies, or there is one event alone.
- Run to failure: anomalies lie at the end. The mean place of the events is given, 0 to 1 over their sequence.
- Mislabelled: samples that are marked look like normal ones. The share of events is given whose most unusual window is
  nearer to the history than half of the normal windows are; of injected faults those are merely too small to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.judging.events import Labelled
from core.judging.metrics import auc_pr

if TYPE_CHECKING:
    from anomaly_sets import AnomalySet

Values = NDArray[np.float64]
WINDOW = 16
MOST_WINDOWS = 4000
TRIVIAL = 0.8

ONE_LINERS: dict[str, Callable[[Values], Values]] = {
    "abs(x - median(x))": lambda x: np.abs(x - np.median(x, axis=0)).max(axis=1),
    "abs(diff(x))": lambda x: np.abs(np.diff(x, axis=0, prepend=x[:1])).max(axis=1),
    "movstd(x, 16)": lambda x: _moving(x).std(axis=-1).max(axis=1),
    "-movstd(x, 16)": lambda x: -_moving(x).std(axis=-1).min(axis=1),
}


def best_one_liner(data: AnomalySet) -> tuple[str, float]:
    """The one-liner with the highest AUC-PR; fields are scaled by the history's spread."""
    spread = np.maximum(np.concatenate(data.history).std(axis=0), 1e-9)
    found = {name: auc_pr([line(one / spread) for one in data.test], data.truth) for name, line in ONE_LINERS.items()}
    best = max(found, key=lambda name: found[name] or 0.0)
    return best, found[best] or 0.0


def mean_place(data: AnomalySet) -> float:
    """The mean place of the events in their sequences, 0 the begin and 1 the end: about 0.5 without a bias."""
    events = Labelled.of([np.zeros(len(one)) for one in data.truth], data.truth)
    starts, lengths = events.bounds[:-1][events.owners], np.diff(events.bounds)[events.owners]
    return float(np.mean(((events.begins + events.ends) / 2 - starts) / lengths))


def like_normal(data: AnomalySet) -> float:
    """The share of events all of whose windows are nearer to the history than half of the normal windows are."""
    spread = np.maximum(np.concatenate(data.history).std(axis=0), 1e-9)
    known = np.concatenate([_windows(one / spread) for one in data.history if len(one) >= WINDOW])
    known = known[:: max(1, len(known) // MOST_WINDOWS)]
    events, normal = [], []
    for values, truth in zip(data.test, data.truth, strict=True):
        windows, touched = (
            _windows(values / spread),
            _moving(truth[:, None].astype(float))[WINDOW - 1 :, 0].max(axis=-1),
        )
        clean = np.flatnonzero(touched == 0)
        normal.append(_nearest(windows[clean[:: max(1, len(clean) // 1000)]], known))
        marked = Labelled.of([np.zeros(len(truth))], [truth])
        for begin, end in zip(marked.begins, marked.ends, strict=True):
            near = windows[max(0, begin - WINDOW + 1) : end][:: max(1, (end - begin) // 200)]
            events.append(_nearest(near, known).max() if len(near) else np.inf)
    return float(np.mean(np.array(events) <= np.median(np.concatenate(normal))))


def print_tables(sets: Mapping[str, AnomalySet]) -> None:
    """Print the tables of the page on these sets, in Markdown."""
    print(
        "| set | fields | history | test | events | samples in events | truth |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for data in sets.values():
        truth = np.concatenate(data.truth)
        events = len(Labelled.of([np.zeros(len(one)) for one in data.truth], data.truth).begins)
        sizes = f"{sum(map(len, data.history)):,} | {len(truth):,} | {events}"
        print(f"| {data.name} | {len(data.fields)} | {sizes} | {truth.mean():.1%} | {data.truth_by} |")
    print(
        "\n| set | best line of code | its AUC-PR | mean place of events | events that look normal |\n"
        "| --- | --- | --- | --- | --- |"
    )
    for data in sets.values():
        line, area = best_one_liner(data)
        print(f"| {data.name} | `{line}` | {area:.2f} | {mean_place(data):.2f} | {like_normal(data):.0%} |")


def _moving(values: Values) -> Values:
    """The last `WINDOW` samples of each one, (T, F, WINDOW); before the first one it stands itself."""
    padded = np.concatenate([np.repeat(values[:1], WINDOW - 1, axis=0), values])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0)


def _windows(values: Values) -> Values:
    views = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=0)
    return np.ascontiguousarray(views).reshape(len(views), -1)


def _nearest(windows: Values, known: Values) -> Values:
    """The distance of each window to the nearest known one."""
    squares = (known**2).sum(axis=1)
    parts = [
        (part**2).sum(axis=1) + (squares - 2 * part @ known.T).min(axis=1)
        for part in np.array_split(windows, max(1, len(windows) // 500))
    ]
    return np.sqrt(np.maximum(np.concatenate(parts), 0.0))
