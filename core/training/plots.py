"""Plots of an evaluation as PNG files, and the figures that a training logs.

`core.training.drawing` says how they look. A plot that a file has no data for (casts of one class, no alarms) is left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.tasks.reading import shipped
from core.training.drawing import (
    BASELINE,
    BLACK,
    BLUE,
    LIMIT,
    MODEL,
    REFERENCE,
    VERMILION,
    Axes,
    Figure,
    legend_above,
    legend_below,
    new_figure,
    style,
    write_plots,
)
from core.training.evaluate_defect import DefectReport
from core.training.evaluate_signal import SignalReport
from core.training.extras import require
from core.training.metrics import reliability
from core.wire.records import SENSORS

UNITS = {field.name: field.unit for field in shipped("casting").fields}
# What an evaluation of a kind writes.
PLOTS = {
    "signal": ("predictions", "error-over-time"),
    "defect": ("roc", "precision-recall", "reliability", "lead-time", "attention"),
}
EXAMPLE_STEPS = 3_000
LEAD_TIME_BINS = 20
FEW_FALSE_ALARMS = 10  # %


def write_signal_plots(report: SignalReport, folder: Path) -> list[Path]:
    """Write ``predictions.png`` and ``error-over-time.png`` of a signal model's evaluation; the folder is made.

    Returns:
        What was written.

    Raises:
        StartupError: matplotlib is missing, or the folder cannot be made.
        RunError: a file cannot be written.
    """
    plots: dict[str, Callable[[], Figure | None]] = {
        "predictions": lambda: _predictions(report),
        "error-over-time": lambda: _error_over_time(report),
    }
    return write_plots(plots, folder)


def write_defect_plots(report: DefectReport, folder: Path) -> list[Path]:
    """Write ``roc.png``, ``precision-recall.png``, ``reliability.png``, ``lead-time.png`` and ``attention.png``.

    Returns:
        What was written.

    Raises:
        StartupError: matplotlib or scikit-learn is missing, or the folder cannot be made.
        RunError: a file cannot be written.
    """
    both = 0 < report.labels.sum() < len(report.labels)
    plots: dict[str, Callable[[], Figure | None]] = {
        "roc": lambda: _roc(report) if both else None,
        "precision-recall": lambda: _precision_recall(report) if both else None,
        "reliability": lambda: _reliability(report) if len(report.labels) else None,
        "lead-time": lambda: _lead_times(report) if len(report.lead_times_s) else None,
        "attention": lambda: None if report.example is None else _attention(report.example),
    }
    return write_plots(plots, folder)


def example_figure(predicted: Floats, target: Floats, sampling_rate_hz: float) -> Figure:
    """A prediction over its target, both (T,), at most 3,000 steps of them."""
    with style():
        figure = new_figure(10.0, 3.0)
        axes = figure.subplots()
        shown = slice(0, EXAMPLE_STEPS)
        seconds = np.arange(len(target))[shown] / sampling_rate_hz
        _compare(axes, seconds, target[shown], predicted[shown])
        axes.set(xlabel="time since the start (s)", ylabel="amplitude", title="Prediction of a held-out sample")
        legend_above(axes)
        return figure


def scores_figure(scores: Floats, labels: NDArray[np.integer[Any]]) -> Figure:
    """Plot the scores (N,) of good and of defective casts, as shares of each class."""
    with style():
        figure = new_figure(7.0, 3.5)
        axes = figure.subplots()
        finite = np.isfinite(scores)
        edges = np.histogram_bin_edges(scores[finite], bins=40) if finite.any() else np.linspace(0.0, 1.0, 41)
        for label, name, color, hatch in ((0, "good", BLUE, None), (1, "defective", VERMILION, "///")):
            chosen = scores[finite & (labels == label)]
            if len(chosen):
                weights = np.full(len(chosen), 100.0 / len(chosen))
                look: dict[str, Any] = {"color": color, "alpha": 0.55, "hatch": hatch, "edgecolor": "white"}
                axes.hist(chosen, edges, weights=weights, label=f"{name} ({len(chosen):,})", **look)
        axes.set(xlabel="score", ylabel="share of the class (%)", title="Scores of held-out casts")
        legend_above(axes)
        return figure


# Signals


def _predictions(report: SignalReport) -> Figure | None:
    """Prediction over target, a row for each frequency."""
    rows = len(report.examples)
    if not rows:
        return None
    figure = new_figure(10.0, 1.0 + 1.9 * rows)
    found = {one["frequency_hz"]: one for one in report.figures.get("per_frequency", [])}
    for axes, example in zip(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0], report.examples, strict=True):
        seconds, frequency = example["seconds"], example["frequency_hz"]
        axes.plot(seconds, example["mixed"], color="#BBBBBB", linewidth=0.6, label="mixture (input)")
        _compare(axes, seconds, example["target"], example["predicted"])
        axes.set(ylabel="amplitude", xlim=(0.0, seconds[-1] + 1.0 / report.sampling_rate_hz))
        axes.set_title(f"{frequency:g} Hz{_quality(found.get(frequency, {}))}", loc="left")
    figure.axes[-1].set_xlabel("time since the start (s)")
    figure.align_ylabels()
    figure.suptitle("Prediction over target, one sample of each frequency", fontsize=12)
    legend_below(figure, figure.axes[0], 3)
    return figure


def _quality(figures: Mapping[str, Any]) -> str:
    error, correlation = figures.get("mse_after_1s"), figures.get("correlation_after_1s")
    if error is None or correlation is None:
        return ""
    samples = figures["samples"]
    of = "1 sample" if samples == 1 else f"all {samples:,} samples"
    return f" (after the first second of {of}: mean squared error {error:.2g}, correlation {correlation:.4f})"


def _compare(axes: Axes, seconds: Floats, target: Floats, predicted: Floats) -> None:
    axes.plot(seconds, target, color=VERMILION, linewidth=3.0, alpha=0.55, label="target")
    axes.plot(seconds, predicted, color=BLUE, linewidth=1.1, label="prediction")


def _error_over_time(report: SignalReport) -> Figure:
    figure = new_figure(9.0, 4.5)
    axes = figure.subplots()
    errors = report.error_over_time
    drawn = (("model", "model", MODEL), ("kalman", "Kalman filter (limit)", LIMIT), ("bandpass", "band-pass", BASELINE))
    for key, name, look in drawn:
        axes.plot(errors["seconds"], np.where(errors[key] > 0, errors[key], np.nan), label=name, **look)
    axes.set_yscale("log")
    axes.set(xlabel="time since the start (s)", ylabel="mean squared error")
    axes.set_xlim(0.0, report.figures["steps"] / report.sampling_rate_hz)
    axes.grid(which="minor", linewidth=0.3)
    axes.set_title(f"Error over time since the start, {report.figures['samples']:,} samples")
    legend_above(axes)
    return figure


# Casts


def _curves(report: DefectReport) -> list[tuple[str, Floats, dict[str, Any]]]:
    """Return name, scores (N,) and look of each curve: the model, the limit if it is known, the better baseline."""
    found: list[tuple[str, Floats, dict[str, Any]]] = [("model", report.probabilities, MODEL)]
    if np.isfinite(report.limits).all():
        found.append(("best possible", report.limits, LIMIT))
    name = report.figures.get("baseline")
    if name in report.baseline_scores:
        found.append((str(name), report.baseline_scores[str(name)], BASELINE))
    return found


def _roc(report: DefectReport) -> Figure:
    metrics = require("sklearn.metrics")
    figure = new_figure(11.0, 5.6)
    axes = figure.subplots(1, 2)
    for part in axes:
        part.plot([0, 100], [0, 100], label="by chance", **REFERENCE)
    for name, scores, look in _curves(report):
        false_alarms, found, _ = metrics.roc_curve(report.labels, scores)
        area = metrics.roc_auc_score(report.labels, scores)
        for part in axes:
            part.plot(100 * false_alarms, 100 * found, label=f"{name}, area {area:.3f}", **look)
    detected, alarms = report.figures.get("detected"), report.figures.get("false_alarms")
    for part, most in zip(axes, (100, FEW_FALSE_ALARMS), strict=True):
        if detected is not None and alarms is not None:
            _mark(part, alarms, detected, report)
        part.set(xlabel="good casts with an alarm (%)", ylabel="defective casts with an alarm (%)")
        part.set(xlim=(-most / 100, 1.01 * most), ylim=(-1, 101))
    axes[0].set_title(f"Receiver operating characteristic, {_casts(report)}", loc="left")
    axes[1].set_title("The same, where false alarms are few", loc="left")
    legend_below(figure, axes[0], 5)
    return figure


def _precision_recall(report: DefectReport) -> Figure:
    metrics = require("sklearn.metrics")
    figure = new_figure(6.5, 6.4)
    axes = figure.subplots()
    share = 100 * float(report.labels.mean())
    axes.axhline(share, label=f"alarm on every cast, {share:.1f} %", **REFERENCE)
    for name, scores, look in _curves(report):
        precision, recall, _ = metrics.precision_recall_curve(report.labels, scores)
        area = metrics.average_precision_score(report.labels, scores)
        axes.plot(100 * recall, 100 * precision, drawstyle="steps-post", label=f"{name}, average {area:.3f}", **look)
    alarms = report.probabilities >= report.figures.get("threshold", np.inf)
    if alarms.any():
        _mark(axes, report.figures["detected"], float(report.labels[alarms].mean()), report)
    axes.set(xlabel="recall: defective casts with an alarm (%)", ylabel="precision: alarms on defective casts (%)")
    axes.set(xlim=(-1, 101), ylim=(-1, 103))
    axes.set_title(f"Precision and recall, {_casts(report)}", loc="left")
    legend_below(figure, axes, 2)
    return figure


def _mark(axes: Axes, x: float, y: float, report: DefectReport) -> None:
    """Mark the threshold on the model's curve; x and y are shares."""
    look: dict[str, Any] = {"marker": "o", "markersize": 7, "linestyle": "", "color": BLUE, "markeredgecolor": "white"}
    axes.plot(100 * x, 100 * y, label=f"model at threshold {report.figures['threshold']:.3g}", zorder=3, **look)


def _casts(report: DefectReport) -> str:
    return f"{int(report.labels.sum()):,} of {len(report.labels):,} casts defective"


def _reliability(report: DefectReport) -> Figure:
    """Predicted beside observed, with 95 % intervals (Wilson), over how many casts each point stands for."""
    predicted, observed, counts = (
        np.array(part) for part in zip(*reliability(report.probabilities, report.labels), strict=True)
    )
    low, high = _wilson(observed, counts)
    figure = new_figure(6.5, 7.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], label="perfectly calibrated", **REFERENCE)
    spread = np.clip([observed - low, high - observed], 0.0, None)
    look: dict[str, Any] = {
        "color": BLUE,
        "marker": "o",
        "markersize": 6,
        "linestyle": "",
        "elinewidth": 1.2,
        "capsize": 3,
    }
    upper.errorbar(predicted, observed, spread, label="model, 95 % interval", **look)
    upper.set(ylabel="share of defective casts", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    upper.set_title(f"Reliability of the probabilities, Brier score {report.figures['brier']:.4f}", loc="left")
    centres = (np.minimum((predicted * 10).astype(int), 9) + 0.5) / 10
    bars = lower.bar(centres, counts, width=0.09, color=BLUE, alpha=0.6)
    lower.bar_label(bars, [f"{count:,}" for count in counts], fontsize=8, padding=1)
    lower.set_yscale("log")
    lower.set(xlabel="published probability of a defect", ylabel="casts", ylim=(0.5, 4.0 * counts.max()))
    legend_below(figure, upper, 2)
    return figure


def _wilson(share: Floats, counts: NDArray[np.integer[Any]]) -> tuple[Floats, Floats]:
    """The interval that holds the true share in 95 % of cases; unlike the plain one it is right near 0 and 1."""
    z = 1.96
    scale = 1.0 + z**2 / counts
    middle = (share + z**2 / (2 * counts)) / scale
    half = z * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2)) / scale
    return middle - half, middle + half


def _lead_times(report: DefectReport) -> Figure:
    times = report.lead_times_s
    figure = new_figure(8.0, 4.0)
    axes = figure.subplots()
    edges = np.linspace(0.0, max(float(times.max()), 1.0), LEAD_TIME_BINS + 1)
    axes.hist(times, edges, color=BLUE, alpha=0.75, edgecolor="white")
    median = float(np.median(times))
    axes.axvline(median, label=f"median {median:.0f} s", **(LIMIT | {"linewidth": 1.6}))
    axes.set(xlabel="from the first alarm to the end of the cast (s)", ylabel="defective casts", xlim=(0.0, edges[-1]))
    axes.yaxis.set_major_locator(require("matplotlib.ticker").MaxNLocator(integer=True))
    axes.set_title(f"Lead time: {len(times):,} of {int(report.labels.sum()):,} defective casts have an alarm")
    legend_above(axes)
    return figure


def _attention(example: Mapping[str, Any]) -> Figure:
    """The five sensors of one cast, and under them what the model looked at."""
    readings, attention = example["readings"], example["attention"]
    seconds = example["start"] + np.arange(len(attention))  # 1 Hz
    peak = seconds[int(np.argmax(attention))]
    figure = new_figure(10.0, 10.0)
    rows = figure.subplots(len(SENSORS) + 1, 1, sharex=True)
    for axes, name, values in zip(rows, SENSORS, readings.T, strict=False):
        axes.plot(seconds, values, color=BLACK, linewidth=0.9)
        axes.set_ylabel(f"{name.replace('_', ' ')}\n({UNITS[name]})", fontsize=9)
        axes.axvspan(peak - 0.5, peak + 0.5, color=VERMILION, alpha=0.5, linewidth=0)
    last = rows[-1]
    last.fill_between(seconds, 100 * attention, color=VERMILION, alpha=0.6, linewidth=0)
    last.set_ylabel("attention\n(% per step)", fontsize=9)
    last.set(xlabel="time since the start of the cast (s)", xlim=(seconds[0], seconds[-1]), ylim=(0.0, None))
    last.axvspan(peak - 0.5, peak + 0.5, color=VERMILION, alpha=0.5, linewidth=0)
    figure.align_ylabels(rows)
    lines = [f"A defective cast, probability {example['probability']:.3f}; attention is highest at {peak} s"]
    if example.get("trigger") not in (None, "", "none"):
        lines.append(shorten(f"Cause: {example['trigger'].replace('_', ' ').replace('+', ', ')}", 100))
    rows[0].set_title("\n".join(lines), loc="left", parse_math=False)  # a user's text may hold dollar signs
    return figure
