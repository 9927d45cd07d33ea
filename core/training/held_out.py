"""Judge a new model, like any file, on the rows that its training held out; its checkpoint names them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from core.callbacks import OnProgress, unheard
from core.data.layout import open_castings, open_signals
from core.data.part import write_castings_part, write_signals_part
from core.engines.results import WindowRules
from core.models.checkpoint import read_checkpoint
from core.training.defect import Casts
from core.training.evaluate_defect import DefectReport, evaluate_defect
from core.training.evaluate_signal import SignalReport, evaluate_signal
from core.training.facts import mixture_of

# Baselines learn from so many casts at most: they do not get better with more.
BASELINE_CASTS = 20_000


def judge_signal(file: Path, checkpoint: Path, device: str = "cpu", on_progress: OnProgress = unheard) -> SignalReport:
    """Evaluate a checkpoint of `train_signal` on the samples of ``file`` that it held out.

    Raises:
        DataError: the file cannot be used.
    """
    with open_signals(file, check_values=False) as opened:
        samples = len(opened["mixed_signals"])
        mixture = mixture_of(opened)  # the few held out may not name all of its frequencies
    with tempfile.TemporaryDirectory(prefix="caststream-") as folder:
        held_out = Path(folder) / "held-out.h5"
        write_signals_part(file, held_out, range(_facts(checkpoint)["samples"], samples))
        return evaluate_signal(held_out, checkpoint, device=device, mixture=mixture, on_progress=on_progress)


def judge_defect(
    file: Path,
    checkpoint: Path,
    validation: Path | None = None,
    device: str = "cpu",
    on_progress: OnProgress = unheard,
) -> DefectReport:
    """Evaluate a checkpoint of `train_defect` on the casts that it held out; baselines learn from the others.

    Args:
        validation: the file of the held-out casts, where they were not the last of ``file``.

    Raises:
        DataError: a file cannot be used.
    """
    with open_castings(file, check_values=False) as opened:
        casts = len(opened["cast_start"])
        usable = Casts.of(opened, WindowRules().window_min).rows
    trained = _facts(checkpoint)["casts"]
    first = int(usable[trained]) if trained < len(usable) else casts  # of those held out
    with tempfile.TemporaryDirectory(prefix="caststream-") as folder:
        learnt_from = Path(folder) / "trained-on.h5"
        write_castings_part(file, learnt_from, range(min(first, BASELINE_CASTS)))
        if validation is None:
            validation = Path(folder) / "held-out.h5"
            write_castings_part(file, validation, range(first, casts))
        return evaluate_defect(validation, checkpoint, device=device, baseline=learnt_from, on_progress=on_progress)


def _facts(checkpoint: Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_checkpoint(checkpoint)["data"]
    return facts
