"""A PyTorch model from a checkpoint's content: its kind and sizes, then what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.models.defect_lstm import SteelDefectLSTM
from core.models.described import around, configured
from core.models.fingerprint import AnyModel
from core.models.signal_lstm import SignalExtractionLSTM


def build(content: Mapping[str, Any]) -> AnyModel:
    """An untrained model of the file's kind and sizes.

    Raises:
        ValueError: weights of neither model, or a size outside its limits.
    """
    kind, config = configured(content)
    if kind == "defect":
        return SteelDefectLSTM(config, skip_init_weights=True)
    return SignalExtractionLSTM(**config)


def attach(model: AnyModel, content: Mapping[str, Any]) -> None:
    """Set calibration, input statistics and training ranges; errors as `core.models.described.around` has them."""
    found = around(content, model.input_size)
    if found.calibration is not None:
        model.calibration = found.calibration
    if found.input_statistics is not None:
        model.input_statistics = found.input_statistics
    if found.training_ranges is not None:
        model.training_ranges = found.training_ranges
