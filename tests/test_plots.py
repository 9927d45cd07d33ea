"""Plots of an evaluation: which are written, what is on them, and that a person can read it."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest

from core.errors import RunError, StartupError
from core.judging.metrics import auc_pr
from core.training.evaluate_defect import DefectReport
from core.training.evaluate_signal import SignalReport
from core.training.metrics import auc_roc, brier
from core.training.plots import example_figure, scores_figure, write_defect_plots, write_signal_plots

pytestmark = pytest.mark.slow

if TYPE_CHECKING:  # loaded with the first plot: on a lane that draws none it would take a second for nothing
    from matplotlib.figure import Figure
    from matplotlib.text import Text

RATE_HZ = 100.0
DEFECT = ["roc.png", "precision-recall.png", "reliability.png", "lead-time.png", "attention.png"]


@pytest.fixture(scope="module")
def signal_report() -> SignalReport:
    """Two frequencies, 2 s at 100 Hz, a model whose error falls."""
    source, seconds = np.random.default_rng(1), np.arange(200) / RATE_HZ
    examples, per_frequency = [], []
    for frequency in (1.0, 3.0):
        target = np.sin(2 * np.pi * frequency * seconds)
        predicted = target + source.normal(0, 0.1, 200)
        shown = {"seconds": seconds, "mixed": target + source.normal(0, 0.5, 200), "target": target}
        examples.append({"frequency_hz": frequency, "predicted": predicted, **shown})
        found = {"mse_after_1s": 0.01, "correlation_after_1s": 0.99}
        per_frequency.append({"frequency_hz": frequency, "samples": 8, **found})
    errors = {"seconds": np.arange(40) * 0.05 + 0.025}
    for name, scale in (("model", 2.0), ("kalman", 1.0), ("bandpass", 30.0)):
        errors[name] = scale * np.exp(-5 * errors["seconds"])
    figures = {"samples": 16, "steps": 200, "per_frequency": per_frequency}
    return SignalReport(RATE_HZ, figures, errors, examples)


@pytest.fixture(scope="module")
def defect_report() -> DefectReport:
    """300 casts, a model near the limit and a baseline that is not."""
    source = np.random.default_rng(2)
    limits = source.beta(0.3, 1.5, 300)
    labels = (source.random(300) < limits).astype(np.int64)
    probabilities = np.clip(limits + source.normal(0, 0.05, 300), 0.0, 1.0)
    baseline = np.clip(limits + source.normal(0, 0.3, 300), 0.0, 1.0)
    alarms = probabilities >= 0.2
    figures = {
        "threshold": 0.2,
        "auc": auc_roc(probabilities, labels),
        "auc_pr": auc_pr([probabilities], [labels]),
        "brier": brier(probabilities, labels),
        "baseline": "logistic regression",
        "detected": float(alarms[labels == 1].mean()),
        "false_alarms": float(alarms[labels == 0].mean()),
    }
    example = {
        "readings": source.normal(0, 1, (150, 5)),
        "attention": np.full(150, 1 / 150),
        "start": 20,
        "probability": 0.9,
        "trigger": "mold_level",
    }
    scores = {"logistic regression": baseline, "gradient boosting": baseline / 2}
    times = source.uniform(0, 300, 40)
    return DefectReport(figures, labels, probabilities, limits, scores, times, example)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures of the files that a test writes, by name; the files are written too."""
    return recorded(monkeypatch, rendered=True)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures of the files that a test would write, by name: a file takes a second, and is not looked at."""
    return recorded(monkeypatch, rendered=False)


def recorded(monkeypatch: pytest.MonkeyPatch, rendered: bool) -> dict[str, Figure]:
    from matplotlib.figure import Figure

    found: dict[str, Figure] = {}
    save = Figure.savefig

    def record(figure: Figure, file: IO[bytes], **options: Any) -> None:
        found[Path(file.name).name[1:].partition(".png")[0] + ".png"] = figure  # written under another name at first
        if rendered:
            save(figure, file, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return found


def words(figure: Figure) -> list[Text]:
    """Titles, labels of axes and legends: all that a person reads but the ticks."""
    found = [figure._suptitle] if figure._suptitle else []
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]:
        found += legend.get_texts()
    return [text for text in found if text.get_text()]


def legend(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for one in legends for text in one.get_texts()]


def assert_legible(figure: Figure) -> None:
    """Axes are named, and no text is cut off or lies over another."""
    figure.draw_without_rendering()
    page = figure.bbox.padded(1.0)
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]

    assert all(axes.get_ylabel() for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()
    for told, box in boxes:
        assert page.contains(box.x0, box.y0), told
        assert page.contains(box.x1, box.y1), told
    for (first, one), (second, other) in combinations(boxes, 2):
        assert not one.overlaps(other), f"{first!r} lies over {second!r}"


def test_the_plots_of_a_signal_model_are_legible(
    signal_report: SignalReport, drawn: dict[str, Figure], tmp_path: Path
) -> None:
    from matplotlib.image import imread

    written = write_signal_plots(signal_report, tmp_path / "new" / "folder")

    assert [path.name for path in written] == ["predictions.png", "error-over-time.png"]
    for path in written:
        assert imread(path).shape[1] >= 600
        assert_legible(drawn[path.name])
    panels = [axes.get_title(loc="left") for axes in drawn["predictions.png"].axes]
    assert [title.split(" (")[0] for title in panels] == ["1 Hz", "3 Hz"]
    assert "all 8 samples: mean squared error 0.01, correlation 0.9900" in panels[0]
    assert legend(drawn["error-over-time.png"]) == ["model", "Kalman filter (limit)", "band-pass"]
    assert drawn["error-over-time.png"].axes[0].get_yscale() == "log"


def test_the_plots_of_a_defect_model_are_legible(
    defect_report: DefectReport, drawn: dict[str, Figure], tmp_path: Path
) -> None:
    written = write_defect_plots(defect_report, tmp_path)

    assert [path.name for path in written] == DEFECT
    for path in written:
        assert_legible(drawn[path.name])
    assert f"model, area {defect_report.figures['auc']:.3f}" in legend(drawn["roc.png"])
    assert "model at threshold 0.2" in legend(drawn["roc.png"])
    told = f"Lead time: 40 of {defect_report.labels.sum()} defective casts have an alarm"
    assert drawn["lead-time.png"].axes[0].get_title(loc="left") == told
    assert f"model, average {defect_report.figures['auc_pr']:.3f}" in legend(drawn["precision-recall.png"])
    assert all(text.get_text().isdigit() for text in drawn["reliability.png"].axes[1].texts)
    assert "attention is highest at 20 s\nCause: mold level" in drawn["attention.png"].axes[0].get_title(loc="left")


def test_the_threshold_lies_on_the_curve_of_the_model(
    defect_report: DefectReport, figures: dict[str, Figure], tmp_path: Path
) -> None:
    write_defect_plots(defect_report, tmp_path)

    for name in ("roc.png", "precision-recall.png"):
        lines = {line.get_label().split(",")[0]: line for line in figures[name].axes[0].lines}
        [point] = lines["model at threshold 0.2"].get_xydata()
        curve = lines["model"].get_xydata()
        assert np.abs(curve - point).max(axis=1).min() < (1e-6 if name == "precision-recall.png" else 3.0)


def test_a_plot_without_data_is_left_out_and_an_old_one_does_not_stay(
    defect_report: DefectReport, tmp_path: Path
) -> None:
    for name in DEFECT:
        (tmp_path / name).write_text("of an earlier evaluation")
    good = np.zeros_like(defect_report.labels)
    nothing = replace(defect_report, labels=good, lead_times_s=np.array([]), example=None)

    assert [path.name for path in write_defect_plots(nothing, tmp_path)] == ["reliability.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["reliability.png"]


def test_without_known_probabilities_there_is_no_curve_of_the_limit(
    defect_report: DefectReport, figures: dict[str, Figure], tmp_path: Path
) -> None:
    told = defect_report.figures | {"baseline": None}
    write_defect_plots(replace(defect_report, figures=told, limits=np.full(300, np.nan)), tmp_path)

    names = [name.split(",")[0] for name in legend(figures["roc.png"])]
    assert names == ["by chance", "model", "model at threshold 0.2"]


def test_samples_shorter_than_a_second_have_their_plots(signal_report: SignalReport, tmp_path: Path) -> None:
    figures = signal_report.figures | {"per_frequency": [{"frequency_hz": 1.0, "samples": 1, "mse_after_1s": None}]}

    assert len(write_signal_plots(replace(signal_report, figures=figures), tmp_path)) == 2


def test_a_users_text_is_shown_as_it_is(
    defect_report: DefectReport, figures: dict[str, Figure], tmp_path: Path
) -> None:
    assert defect_report.example is not None
    example = defect_report.example | {"trigger": "$\\frac{" + " crack" * 50}
    write_defect_plots(replace(defect_report, example=example), tmp_path)

    assert_legible(figures["attention.png"])
    assert "Cause: $\\frac{ crack crack" in figures["attention.png"].axes[0].get_title(loc="left")


def test_a_folder_that_cannot_be_written_is_one_line(signal_report: SignalReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "plots" / "predictions.png").mkdir(parents=True)

    with pytest.raises(StartupError, match=r"file: plots cannot be written there: File exists"):
        write_signal_plots(signal_report, tmp_path / "file")
    with pytest.raises(RunError, match=r"predictions.png cannot be written: Is a directory"):
        write_signal_plots(signal_report, tmp_path / "plots")


def test_without_matplotlib_the_package_to_install_is_named(
    signal_report: SignalReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(StartupError, match=r"pip install 'caststream\[train\]'"):
        write_signal_plots(signal_report, tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def test_figures_for_the_logs_are_legible(defect_report: DefectReport) -> None:
    target = np.sin(np.arange(10_000) / 50).astype(np.float32)
    example = example_figure(target + 0.01, target, 1000.0)
    scores = scores_figure(np.log(defect_report.limits), defect_report.labels)

    for figure in (example, scores):
        assert_legible(figure)
    assert max(line.get_xdata().max() for line in example.axes[0].lines) == pytest.approx(2.999)
    assert [name.split(" (")[0] for name in legend(scores)] == ["good", "defective"]


def test_scores_of_one_class_or_none_have_a_figure() -> None:
    assert legend(scores_figure(np.array([0.5, 0.5]), np.array([1, 1]))) == ["defective (2)"]
    assert legend(scores_figure(np.array([np.nan]), np.array([1]))) == []
