"""The rules, from the settings, by which streams are judged: for the worker, the audit and offline runs."""

from __future__ import annotations

from typing import NamedTuple

from core.engines.results import StreamRules, WindowRules
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.settings import Settings


class Models(NamedTuple):
    """A signal model and a defect model."""

    signal: SignalExtractionLSTM
    defect: SteelDefectLSTM


def stream_rules(settings: Settings) -> StreamRules:
    """Return the rules by which records are judged."""
    return StreamRules(
        gap_policy=settings.gap_policy,
        max_gap=settings.max_gap,
        max_step_jump=settings.max_step_jump,
        idle_timeout_ms=round(settings.idle_timeout * 1000),
    )


def window_rules(settings: Settings) -> WindowRules:
    """Return the rules for windows: the samples that a score sees, and when it is due."""
    return WindowRules(settings.window_length, settings.window_min, settings.hop)


def load_models(settings: Settings) -> Models:
    """The models of the settings, those that ship with the package where none is set, on the device of the settings.

    Raises:
        StartupError: a checkpoint is missing or of another kind.
    """
    signal = load_model(settings.signal_checkpoint or checkpoint_path("signal"), "signal", settings.device)
    defect = load_model(settings.defect_checkpoint or checkpoint_path("defect"), "defect", settings.device)
    assert isinstance(signal, SignalExtractionLSTM)
    assert isinstance(defect, SteelDefectLSTM)
    return Models(signal, defect)
