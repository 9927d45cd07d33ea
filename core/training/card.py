"""The model card: what a model is, how it was made, how good it is beside the limits, and where it is weak."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from core.models.checkpoint import read_checkpoint
from core.training.markdown import table, write_parts
from core.wire.records import SENSORS

if TYPE_CHECKING:
    from core.training.loop import Fitted

Figures = Mapping[str, Any]
Content = Mapping[str, Any]  # of a checkpoint
CardRow = Sequence[str]

UNKNOWN = "-"
# What a model is held to: after the first second the error and correlation on each frequency; of final scores the
# area under the ROC curve, how far it may lie under the best possible one, and the excess of the Brier score.
MOST_ERROR, LEAST_CORRELATION = 0.005, 0.995
LEAST_AUC, MOST_BELOW_LIMIT, MOST_EXCESS_BRIER = 0.93, 0.01, 0.05

ENDINGS = {
    "epochs": "as many as it was to do",
    "patience": "nothing better came",
    "max_minutes": "its time was up",
    "interrupted": "it was interrupted",
}
USE = {
    "signal": (
        "It extracts one component of a mixture of four, which the one-hot condition vector of each record asks for: "
        "sample by sample from a live feed, with the hidden state carried from step to step, or over a whole file. "
        "It is made for feeds with the frequencies, the sampling rate, the amplitudes and the noise of the file it was "
        "trained on."
    ),
    "defect": (
        "It gives the probability that a running cast will be found defective, from 100 samples on and at the cast's "
        "end, for people who decide what to inspect. It is no controller and no safety device, and its attention says "
        "which time weighed most in a score, not what caused a defect."
    ),
}
# Those that the kind of model has; what its data and figures show comes before them.
WEAKNESSES = {
    "signal": (
        "Targets as exact as those it was trained on are known of simulated mixtures only. How it does on a real "
        "sensor, with drift, clipping or other noise, has not been measured.",
        "The frequencies are fixed by training. A component beside them, even one a little off, is not followed well, "
        "and cannot be asked for.",
        "It knows one sampling rate, that of its file, and does not see the time between samples: at another rate it "
        "is wrong without saying so.",
        "The hidden state is carried on. A sample that is lost shifts every later prediction until the "
        "phase is found again, and a state that was reset starts like a new sequence.",
        "Amplitudes and noise outside those of its file, and sequences much longer than its samples, are judged only "
        "where the figures above are of such data.",
    ),
    "defect": (
        "It knows the five sensors below within the ranges it was trained on. A reading far outside them gives a "
        "score all the same; the worker counts it, and `predict` says so.",
        "A sensor that drifts further than in its data, is replaced or is recalibrated moves the scores. They must be "
        "compared with outcomes from time to time, and the model trained again.",
        "It is as good as its labels: defects that nobody found count as good casts, and causes that these sensors do "
        "not see stay unseen.",
        "It is made for one sample a second: at another rate every duration that it has learnt is wrong.",
        "Of a long cast only the last 500 samples count (`window_length`), and the first scores of a cast, made from "
        "little, are less sure than the last.",
    ),
}


def write_card(
    path: Path,
    checkpoint: Path,
    figures: Figures,
    *,
    kind: Literal["signal", "defect"],
    command: str,
    judged_on: str,
    fitted: Fitted | None = None,
) -> None:
    """Write the card of a trained model as Markdown, with the facts of the training from the checkpoint.

    Args:
        path: the card.
        checkpoint: the model.
        figures: those of its evaluation's report.
        kind: of the model.
        command: what made it; absolute paths in it are shown by their last part.
        judged_on: what ``figures`` were measured on, to go after "Measured on": "samples that training never saw".
        fitted: how training went, from `fit`; without it the card says what the checkpoint knows.

    Raises:
        CheckpointError, FileNotFoundError: the checkpoint cannot be read.
        RunError: the card cannot be written.
    """
    content = read_checkpoint(checkpoint)
    name = {"signal": "Signal model", "defect": "Defect model"}[kind]
    parts = [
        f"# {name} {content.get('fingerprint') or checkpoint.stem}",
        _identity(content, checkpoint),
        "## Training",
        f"```sh\n{without_folders(command)}\n```",
        _course(kind, content, fitted),
        *_settings(content),
        "## Quality",
        f"Measured on {judged_on}.",
        _signal_quality(figures) if kind == "signal" else _defect_quality(figures),
        *([] if kind == "signal" else [_threshold(content, figures)]),
        "Targets of the project, on generated data:",
        table(("target", "found", ""), _signal_targets(figures) if kind == "signal" else _defect_targets(figures)),
        "## Intended use",
        USE[kind],
        "## Known weaknesses",
        "\n".join(f"- {told}" for told in (*_measured_weaknesses(kind, content, figures), *WEAKNESSES[kind])),
        *([_sensors(content)] if kind == "defect" and content.get("input_statistics") else []),
    ]
    write_parts(path, parts)


def _told(content: Content, key: str) -> Mapping[str, Any]:
    """A section of the checkpoint; files of other makers may lack it."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


# What it is, and how it was made


def _identity(content: Content, checkpoint: Path) -> str:
    info, parameters = _told(content, "model_info"), sum(w.numel() for w in content["model_state_dict"].values())
    shape = {**info, **_told(info, "architecture")}
    rows = [
        ("class", f"`{info.get('model_type', UNKNOWN)}`"),
        ("parameters", f"{info.get('total_parameters', parameters):,}"),
        ("shape", _shape(shape)),
        ("fingerprint", f"`{content.get('fingerprint', UNKNOWN)}`, in each of its outputs"),
        ("file", f"`{checkpoint.name}`, {checkpoint.stat().st_size / 1024:,.0f} KiB"),
    ]
    return table(("model", ""), rows)


def _shape(shape: Mapping[str, Any]) -> str:
    layers = shape.get("num_layers", UNKNOWN)
    told = [f"{shape.get('input_size', UNKNOWN)} inputs", f"LSTM of {layers} {'layer' if layers == 1 else 'layers'}"]
    told[1] += f" with {shape.get('hidden_size', UNKNOWN)} units"
    if shape.get("bidirectional"):
        told[1] += " in each direction"
    if "readout" in shape:
        told.append(f"readout `{shape['readout']}`")
    if "classifier_dims" in shape:
        told.append(f"classifier {', '.join(map(str, shape['classifier_dims'])) or 'without hidden layers'}")
    return "; ".join(told)


def _course(kind: str, content: Content, fitted: Fitted | None) -> str:
    settings = _told(content, "training")
    rows = [
        ("trained on", _data(kind, _told(content, "data"))),
        ("seed", str(settings.get("seed", content.get("seed", UNKNOWN)))),
        ("epochs", _epochs(content, fitted)),
        ("duration", UNKNOWN if fitted is None else duration_of(fitted.seconds)),
        ("machine", machine(settings.get("device", "cpu"))),
        ("versions", f"Python {platform.python_version()}, torch {torch.__version__}"),
    ]
    return table(("training", ""), rows)


def _data(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "signal" and "samples" in data:
        steps, held_out = data.get("steps"), data.get("held_out")
        of = "" if steps is None else f" of {steps:,} steps"
        return f"{data['samples']:,} samples{of}" + ("" if held_out is None else f"; {held_out:,} more held out")
    if kind == "defect" and "casts" in data:
        return f"{data['casts']:,} casts, {data.get('defective', 0):,} of them defective"
    return UNKNOWN


def _epochs(content: Content, fitted: Fitted | None) -> str:
    best, loss = content.get("epoch"), content.get("loss")
    kept = UNKNOWN if best is None else f"the model is that of epoch {best}"
    kept += "" if best is None or loss is None else f" (loss on held-out data {loss:.3g})"
    if fitted is None:
        return kept
    done = f"{fitted.epochs} done, {ENDINGS[fitted.reason]}" if fitted.epochs else "a part of the first one"
    return f"{done}; {kept}"


def _settings(content: Content) -> list[str]:
    settings = _told(content, "training")
    if not settings:
        return []
    rows = [(f"`{name}`", setting(value)) for name, value in settings.items()]
    return [table(("setting", "value"), rows)]


def setting(value: Any) -> str:
    """The value of a setting as a card shows it."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def machine(device: str) -> str:
    """Processor and cores of this machine, and the accelerator if training used one; never its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = f"{_processor()}, {cores} {'core' if cores == 1 else 'cores'}"
    if device.startswith("cuda") and torch.cuda.is_available():
        told += f"; {torch.cuda.get_device_name(device)}"
    return told


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), platform.processor() or platform.machine() or "unknown processor")


def duration_of(seconds: float) -> str:
    """A duration as a card shows it."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def without_folders(command: str) -> str:
    """A command without absolute paths, which say more of the machine than of the model."""
    return shlex.join(_short(word) for word in shlex.split(command))


def _short(word: str) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={_short(value)}"
    return Path(word).name if Path(word).is_absolute() else word


# How good it is


def _signal_quality(figures: Figures) -> str:
    head = ("mean squared error", "model", "Kalman filter (limit)", "band-pass", "correlation")
    after = ("mse_after_1s", "kalman_mse_after_1s", "bandpass_mse_after_1s")
    rows = [
        ("whole samples", *_cells(figures, "mse", "kalman_mse", "bandpass_mse"), ""),
        ("after the first second", *_cells(figures, *after), _number(figures.get("correlation_after_1s"), 4)),
    ]
    for one in figures.get("per_frequency", []):
        quality = (*_cells(one, *after), _number(one.get("correlation_after_1s"), 4))
        rows.append((f"{one['frequency_hz']:g} Hz, after the first second", *quality))
    told = f"{figures['samples']:,} samples of {figures['steps']:,} steps.\n\n{table(head, rows)}\n\n"
    return told + (
        "The Kalman filter knows frequencies and noise; no causal linear estimator has a lower error on average. The "
        "band-pass is a plain causal resonator at the frequency asked for."
    )


def _defect_quality(figures: Figures) -> str:
    baseline = figures.get("baseline")
    head = ("final scores", "model", "best possible", f"baseline ({baseline})" if baseline else "baseline")
    rows = [
        ("AUC-ROC", *(_number(figures.get(key), 4) for key in ("auc", "auc_limit", "auc_baseline"))),
        ("Brier score", _number(figures.get("brier"), 4), _number(figures.get("brier_limit"), 4), ""),
        ("AUC-PR", _number(figures.get("auc_pr"), 4), "", ""),
        ("recall at 1 % false alarms", _number(figures.get("recall_at_1pct_false_alarms"), 4), "", ""),
        ("F1 at the threshold", _number(figures.get("f1"), 4), "", ""),
    ]
    left_out = (
        f"{figures.get('too_short', 0):,} too short for a score, {figures.get('unlabelled', 0):,} without a label"
    )
    known = (
        "The best possible is what the chance of a defect itself reaches, with which each label was drawn."
        if figures.get("auc_limit") is not None
        else "What is the best possible is not known of these casts."
    )
    told = f"{figures['casts']:,} casts, {figures['defective']:,} of those scored defective; {left_out}."
    baseline_sees = "The baseline sees a window's length, means, deviations and extremes only."
    return f"{told}\n\n{table(head, rows)}\n\n{known} {baseline_sees}"


def _threshold(content: Content, figures: Figures) -> str:
    decision = _told(content, "decision")
    threshold, lead = figures.get("threshold"), figures.get("lead_time_s_median")
    told = f"An alarm is raised where the probability reaches the threshold {_number(threshold, 3)}"
    if {"cost_missed", "cost_false_alarm"} <= decision.keys() and decision.get("threshold") == threshold:
        told += (
            f": the cheapest one if a missed defect costs {decision['cost_missed']:g} and a false alarm "
            f"{decision['cost_false_alarm']:g}"
        )
    told += f". Then {_percent(figures.get('detected'))} of the defective casts and "
    told += f"{_percent(figures.get('false_alarms'))} of the good ones have an alarm at their end."
    if lead is None:
        return told
    if "false_alarms_while_running" in figures:
        told += (
            f" Counting every score of a running cast, {_percent(figures.get('detected_while_running'))} of the "
            f"defective and {_percent(figures['false_alarms_while_running'])} of the good ones have one."
        )
    return f"{told} On defective casts the first alarm comes {lead:.0f} s before the cast's end (median)."


def _signal_targets(figures: Figures) -> list[CardRow]:
    rows: list[CardRow] = []
    for one in figures.get("per_frequency", []):
        name, error, similar = f"{one['frequency_hz']:g} Hz", one.get("mse_after_1s"), one.get("correlation_after_1s")
        bound = f"mean squared error after the first second at most {MOST_ERROR:g}"
        rows.append((f"{name}: {bound}", _number(error), _verdict(error, MOST_ERROR, highest=True)))
        bound = f"correlation at least {LEAST_CORRELATION:g}"
        rows.append((f"{name}: {bound}", _number(similar, 4), _verdict(similar, LEAST_CORRELATION, highest=False)))
    return rows


def _defect_targets(figures: Figures) -> list[CardRow]:
    auc, limit = figures.get("auc"), figures.get("auc_limit")
    below = None if auc is None or limit is None else limit - auc
    brier, least = figures.get("brier"), figures.get("brier_limit")
    excess = None if brier is None or not least else brier / least - 1.0
    margin, share = f"{MOST_BELOW_LIMIT:g}", _percent(MOST_EXCESS_BRIER)
    return [
        (f"AUC-ROC at least {LEAST_AUC:g}", _number(auc, 4), _verdict(auc, LEAST_AUC, highest=False)),
        (
            f"AUC-ROC within {margin} of the best possible",
            UNKNOWN if below is None else f"{abs(below):.4f} {'below' if below > 0 else 'above'}",
            _verdict(below, MOST_BELOW_LIMIT, highest=True),
        ),
        (
            f"Brier score within {share} of the best possible",
            UNKNOWN if excess is None else f"{_percent(abs(excess))} {'above' if excess > 0 else 'below'}",
            _verdict(excess, MOST_EXCESS_BRIER, highest=True, percent=True),
        ),
    ]


def _verdict(value: float | None, bound: float, *, highest: bool, percent: bool = False) -> str:
    if value is None:
        return "not known"
    missing = value - bound if highest else bound - value
    if missing <= 0:
        return "reached"
    return f"missed by {f'{100 * missing:.1f} percentage points' if percent else f'{missing:.2g}'}"


# Where it is weak


def _measured_weaknesses(kind: str, content: Content, figures: Figures) -> list[str]:
    """Return the weaknesses that follow from the data and figures."""
    if kind == "signal":
        return _start_weakness(figures)
    told = []
    data = _told(content, "data")
    if content.get("calibration") is None:
        told.append("Its probabilities are not calibrated: they tell casts apart, but not how likely a defect is.")
    elif data.get("casts"):
        share = _percent(data.get("defective", 0) / data["casts"])
        told.append(
            f"Its probabilities are calibrated for data like those it was trained on, {share} of them defective. Where "
            "defects are rarer or more frequent, they are too high or too low, and the threshold with them."
        )
    if _told(content, "training").get("target") == "probability":
        told.append(
            "It learnt from the chance of a defect, which a simulation knows and a plant does not, and was calibrated "
            "on it; the baseline learnt from labels."
        )
    if figures.get("auc_limit") is not None:
        told.append(
            "It was judged on casts whose chance of a defect is known, which are simulated ones. They have no causes "
            "and no faults of sensors but those that the simulation has, and a plant needs a model of its own."
        )
    return told


def _start_weakness(figures: Figures) -> list[str]:
    whole, after = figures.get("mse"), figures.get("mse_after_1s")
    if whole is None or after is None:
        return ["Its predictions in the first second, while it finds the phase, are poor."]
    return [
        "In the first second of a sequence it has to find the phase, and its predictions are poor: the mean squared "
        f"error is {whole:.3g} over whole samples and {after:.3g} after their first second."
    ]


def _sensors(content: Content) -> str:
    from core.training.plots import UNITS

    statistics = content["input_statistics"]
    ranges = content.get("training_ranges") or {"low": [None] * len(SENSORS), "high": [None] * len(SENSORS)}
    rows = [
        (f"`{name}`", UNITS[name], f"{mean:.4g}", f"{std:.3g}", _range(low, high))
        for name, mean, std, low, high in zip(
            SENSORS, statistics["mean"], statistics["std"], ranges["low"], ranges["high"], strict=True
        )
    ]
    return table(("sensor, in training", "unit", "mean", "standard deviation", "range"), rows)


def _range(low: float | None, high: float | None) -> str:
    return UNKNOWN if low is None or high is None else f"{low:.5g} to {high:.5g}"


# Markdown


def _cells(figures: Figures, *keys: str) -> tuple[str, ...]:
    return tuple(_number(figures.get(key)) for key in keys)


def _number(value: float | None, digits: int | None = None) -> str:
    """Three significant digits, or so many after the point."""
    return UNKNOWN if value is None else f"{value:.3g}" if digits is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f}".removesuffix(".0") + " %"
