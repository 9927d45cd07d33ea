"""The display of training and evaluation: a bar or lines while it runs, tables and sentences at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from core.training.card import Figures
    from core.training.loop import Fitted, TrainingProgress

UNKNOWN = "-"
_SHARES = ("recall_at_1pct_false_alarms", "detected", "false_alarms", "false_alarms_while_running")
_ALARM_ROWS = (
    ("defective casts found", "detected"),
    ("good casts with an alarm", "false_alarms"),
    ("good casts with one while running", "false_alarms_while_running"),
    ("F1", "f1"),
    ("lead time, median", "lead_time_s_median"),
)
_DEFECT_ROWS = (("AUC-PR", "auc_pr"), ("recall at 1 % false alarms", "recall_at_1pct_false_alarms"))


@contextmanager
def training_display() -> Iterator[Callable[[TrainingProgress], None]]:
    """Give a function to call with the progress of training: it shows a bar on a terminal, else a line after each
    epoch.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def told(now: TrainingProgress) -> None:
            bar.update(task, description=_standing(now), completed=now.done)

        yield told


class _Lines:
    """Prints a line for each epoch, after its last update and after the check on held-out data."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before = (0, 0)

    def __call__(self, now: TrainingProgress) -> None:
        place = (now.epoch, now.update)
        if place == self._before:
            self._console.print(_standing(now), highlight=False, soft_wrap=True)
        self._before = place


def _standing(now: TrainingProgress) -> str:
    best = "" if now.best is None else f", best on held-out data {now.best:.3g}"
    of = "" if now.passed else f" of {now.epochs}"  # a time limit ends it before
    return f"epoch {now.epoch}{of}: loss {now.loss:.3g}{best}"


def signal_table(figures: Figures) -> Table:
    """The errors of the signal model beside those of the filter and the band-pass, from a report's dict."""
    title = f"{figures['samples']:,} samples of {figures['steps']:,} steps, model {figures['model']}"
    table = _table(title, "mean squared error", "model", "Kalman filter (limit)", "band-pass", "correlation")
    table.add_row("whole sample", *_cells(figures, "mse", "kalman_mse", "bandpass_mse"), "")
    after = ("mse_after_1s", "kalman_mse_after_1s", "bandpass_mse_after_1s", "correlation_after_1s")
    table.add_row("after 1 s", *_cells(figures, *after))
    for one in figures["per_frequency"]:
        table.add_row(f"  {one['frequency_hz']:g} Hz", *_cells(one, *after))
    return table


def defect_table(figures: Figures) -> Table:
    """The quality of the final scores beside the best possible and the better baseline, from a report's dict."""
    counts = f"{figures['casts']:,} casts, {figures['defective']:,} of those scored defective"
    left_out = f"{figures['too_short']:,} too short, {figures['unlabelled']:,} without a label"
    title = f"{counts}; {left_out}; model {figures['model']}"
    table = _table(title, "final scores", "model", "best possible", figures["baseline"] or "baseline")
    table.add_row("AUC-ROC", *_cells(figures, "auc", "auc_limit", "auc_baseline"))
    table.add_row("Brier score", *_cells(figures, "brier", "brier_limit"), "")
    for name, key in _DEFECT_ROWS:
        table.add_row(name, _cell(figures, key), "", "")
    table.add_row(f"alarm from {figures['threshold']:.3g}", "", "", "")
    for name, key in _ALARM_ROWS:
        table.add_row(f"  {name}", _cell(figures, key), "", "")
    return table


def summary(kind: str, figures: Figures) -> str:
    """The figures that count, in a line."""
    if kind == "defect":
        return (
            f"on held-out casts: AUC {_cell(figures, 'auc')} (best possible: {_cell(figures, 'auc_limit')}, baseline: "
            f"{_cell(figures, 'auc_baseline')}), Brier score {_cell(figures, 'brier')}; an alarm from "
            f"{figures['threshold']:.3g} meets {_cell(figures, 'detected')} of the defective and "
            f"{_cell(figures, 'false_alarms')} of the good casts"
        )
    after = "mse_after_1s" if figures["mse_after_1s"] is not None else "mse"
    place = "after the first second " if after == "mse_after_1s" else ""
    return (
        f"on held-out samples {place}MSE {_cell(figures, after)} (Kalman filter: {_cell(figures, f'kalman_{after}')}), "
        f"correlation {_cell(figures, 'correlation_after_1s')}"
    )


def doubt(kind: str, figures: Figures) -> str | None:
    """Say in a line that a simple method does as well as the model, or better; None where the model is better."""
    if kind == "defect":
        model, simple, what = figures["auc"], figures["auc_baseline"], f"the baseline ({figures['baseline']})"
        poor = model is not None and simple is not None and model <= simple
    else:
        model, simple, what = figures["mse_after_1s"], figures["bandpass_mse_after_1s"], "a band-pass filter"
        poor = model is not None and simple is not None and model >= simple
    if not poor:
        return None
    return f"warning: {what} does as well or better: train longer (--epochs, --max-minutes) or on more recordings"


def ending(done: Fitted, out: Path) -> str:
    """Say in a line how a training ended."""
    why = {"patience": "nothing better came", "max_minutes": "its time was up", "interrupted": "interrupted"}
    duration = f"{done.seconds:.0f} s" if done.seconds < 100 else f"{done.seconds / 60:.1f} min"
    told = f"trained {done.epochs} epochs in {duration}"
    if done.reason in why:
        told = f"{told} ({why[done.reason]})"
    if done.best_loss is None:
        return f"{told}: nothing was saved"
    kept = f"{out} holds the model of epoch {done.best_epoch}"
    more = "; --resume goes on" if done.reason in ("interrupted", "max_minutes") and done.epochs else ""
    return f"{told}: {kept}{more}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", box=None)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _cells(figures: Figures, *keys: str) -> list[str]:
    return [_cell(figures, key) for key in keys]


def _cell(figures: Figures, key: str) -> str:
    value = figures.get(key)
    if value is None:
        return UNKNOWN
    if key in _SHARES:
        return f"{100 * value:.1f} %"
    if key.startswith("lead_time_s"):
        return f"{value:.0f} s"
    return f"{value:.3g}" if "mse" in key else f"{value:.4f}"
