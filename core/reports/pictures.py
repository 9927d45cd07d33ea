"""The pictures of an evaluation: alarms per week for each threshold, and one picture for each alarm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from core.reports.evaluate import Alarm, Evaluation
from core.reports.scored import ScoredSequence
from core.reports.words import duration, moment
from core.training.drawing import (
    BLACK,
    BLUE,
    GREY,
    LIMIT,
    VERMILION,
    Axes,
    Figure,
    legend_above,
    new_figure,
    write_plots,
)

MOST_PICTURES = 20
MOST_FIELDS = 6
LEAST_AROUND = 60  # samples before and after an alarm
MOST_SHOWN = 4000  # samples of a picture


def write_pictures(done: Evaluation, folder: Path, most: int = MOST_PICTURES) -> list[Path]:
    """Write ``false-alarms.png`` and ``alarm-N.png`` of the highest alarms; older ones beyond these are removed.

    Raises:
        StartupError: matplotlib is missing, or the folder cannot be made.
        RunError: a file cannot be written.
    """
    highest = sorted(done.alarms, key=lambda alarm: -alarm.peak)[:most]
    plots: dict[str, Callable[[], Figure | None]] = {"false-alarms": partial(_curve, done)}
    old = [path.stem for path in folder.glob("alarm-*.png")] if folder.is_dir() else []
    plots |= {name: lambda: None for name in old}
    ordered = sorted(highest, key=done.alarms.index)
    plots |= {f"alarm-{number}": partial(_alarm, done, alarm) for number, alarm in enumerate(ordered, start=1)}
    return write_plots(plots, folder)


def _curve(done: Evaluation) -> Figure | None:
    thresholds, rates = done.curve
    if not len(thresholds):
        return None
    figure = new_figure(7.0, 3.8)
    axes = figure.subplots()
    axes.step(thresholds, np.where(rates > 0, rates, np.nan), where="post", color=BLUE, label="alarms")
    axes.axvline(done.threshold, label=f"threshold {done.threshold:.3g}", **LIMIT)
    axes.axhline(done.wish, color=GREY, linewidth=0.8, label=f"wish {done.wish:g}")
    axes.set_yscale("log")
    axes.set(xlabel=f"threshold of {done.score}", ylabel="alarms per stream and week", title="Alarms in normal data")
    legend_above(axes)
    return figure


def _alarm(done: Evaluation, alarm: Alarm) -> Figure:
    one = done.scored.sequences[alarm.row]
    around = max(LEAST_AROUND, alarm.end - alarm.begin)
    first, stop = max(alarm.begin - around, 0), min(alarm.end + around, len(one))
    shown = np.arange(first, stop, max(1, (stop - first) // MOST_SHOWN))
    at = (shown - alarm.begin) * done.scored.period_s
    unit, size = next(
        (unit, size) for unit, size in (("h", 3600), ("min", 60), ("s", 1)) if at[-1] >= size or size == 1
    )
    fields = _fields(done, one, alarm)
    figure = new_figure(10.0, 1.6 + 1.2 * (len(fields) + 1))
    rows = figure.subplots(len(fields) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, place in zip(rows, fields, strict=False):
        _field(axes, done, one, place, shown, at / size)
    _score(rows[-1], done, one, shown, at / size)
    end = (alarm.end - alarm.begin) * done.scored.period_s / size
    for axes in rows:
        axes.axvspan(0, end, color=VERMILION, alpha=0.12, linewidth=0, label="alarm")
    rows[-1].set_xlabel(f"time since the alarm began ({unit})")
    named = f", leading {alarm.leading}" if alarm.leading else ""
    where = " ".join(text for text in (one.stream, one.name) if text)
    lasts = duration((alarm.end - alarm.begin) * done.scored.period_s)
    title = f"{where}: {moment(done, alarm, alarm.begin)}, {lasts}{named}".removeprefix(": ")
    rows[0].set_title(title, loc="left", parse_math=False)  # names may hold dollar signs
    rows[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.2)
    figure.align_ylabels(rows)
    return figure


def _fields(done: Evaluation, one: ScoredSequence, alarm: Alarm) -> list[int]:
    """The numbers to show: the leading one, then those farthest from what was expected, or from their usual mean."""
    columns = done.scored.columns
    inside = slice(alarm.begin, alarm.end)
    distance = np.abs(one.values[inside] - np.nanmean(one.values, axis=0))
    if one.expected is not None:
        for place, name in enumerate(done.scored.expected_names or columns):
            if name in columns and place < one.expected.shape[1]:
                column = columns.index(name)
                distance[:, column] = np.abs(one.values[inside, column] - one.expected[inside, place])
    spread = np.nanstd(one.values, axis=0)
    far = np.nan_to_num(np.nan_to_num(distance).max(axis=0) / np.where(spread > 0, spread, 1.0))
    order = [int(place) for place in np.argsort(-far, kind="stable")]
    if alarm.leading in columns:
        leading = columns.index(alarm.leading)
        order = [leading, *(place for place in order if place != leading)]
    return order[:MOST_FIELDS]


def _field(
    axes: Axes, done: Evaluation, one: ScoredSequence, place: int, shown: np.typing.NDArray[np.int64], at: object
) -> None:
    name = done.scored.columns[place]
    axes.plot(at, one.values[shown, place], color=BLACK, linewidth=0.9, label="measured")
    names = done.scored.expected_names or done.scored.columns
    if one.expected is not None and name in names and names.index(name) < one.expected.shape[1]:
        axes.plot(at, one.expected[shown, names.index(name)], color=BLUE, linewidth=0.9, alpha=0.8, label="expected")
    axes.set_ylabel(name, fontsize=9, parse_math=False)
    if one.truth is not None:
        axes.fill_between(
            at,
            0,
            1,
            where=np.asarray(one.truth)[shown] == 1,
            color=GREY,
            alpha=0.3,
            label="anomaly",
            transform=axes.get_xaxis_transform(),
        )


def _score(axes: Axes, done: Evaluation, one: ScoredSequence, shown: np.typing.NDArray[np.int64], at: object) -> None:
    axes.plot(at, one.scores[shown], color=VERMILION, linewidth=1.1)
    axes.axhline(done.threshold, **LIMIT)
    axes.axhline(done.clear, color=GREY, linewidth=0.8)
    axes.set_ylabel(done.score, fontsize=9, parse_math=False)
