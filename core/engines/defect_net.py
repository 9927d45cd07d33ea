"""The defect model at inference: its compiled layers and head, made from plain arrays. Needs no torch.

Shapes: W windows, N samples of all of them, T of one, F features, H hidden units, L layers, D directions (1 or 2), K
logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.arrays import Float32s
from core.engines.net_weights import NetWeights, Statistics, layer_of
from core.models.defect_config import DefectConfig, read_config
from core.models.recurrent_weights import Layer
from core.native.window_lstm import INSTRUCTION_SETS, WindowKernel

_EPSILON = 1e-5  # of nn.BatchNorm1d and nn.LayerNorm
_STAGES = 3  # of the head for each hidden width: the linear layer, the activation, dropout


@dataclass(frozen=True)
class DefectNet:
    """A `SteelDefectLSTM` at inference, with its input statistics; a window's result is the same bits in any batch."""

    settings: DefectConfig
    calibration: Mapping[str, float] | None
    kernel: WindowKernel

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        weights: NetWeights,
        calibration: Mapping[str, float] | None = None,
        statistics: Statistics | None = None,
        instructions: str = INSTRUCTION_SETS[0],
    ) -> DefectNet:
        """The net of a checkpoint's parts, which are taken as they are now.

        Args:
            config: as `SteelDefectLSTM` takes it.
            weights: by the names of its state dict.
            calibration: the probability is sigmoid(a * logit + b); None: a = 1 and b = 0.
            statistics: applied to every sample; None: samples go in as they are.
            instructions: a set that the kernel has.

        Raises:
            KeyError: a weight that the configuration needs is missing.
            ValueError: a configured value is outside its limits, or a weight has another shape.
        """
        settings = read_config(config)
        kernel = WindowKernel(
            _layers(settings, weights),
            _head(settings, weights),
            settings.readout,
            settings.activation,
            None if statistics is None else (statistics["mean"], statistics["std"]),
            _scales(weights, "input_norm", np.float32) if settings.input_norm else None,
            _scales(weights, "lstm_batch_norm", np.float64) if settings.batch_norm else None,
            _layer_norm(weights) if settings.layer_norm else None,
            instructions,
        )
        return cls(settings, calibration, kernel)

    def attended(self, windows: Sequence[Float32s]) -> tuple[Float32s, list[Float32s]]:
        """Run W windows, as `classified`, through a model of one logit: the logits (W,), and the attention of each.

        Raises:
            ValueError: the model has other than one.
        """
        if self.settings.outputs != 1:
            raise ValueError(f"the model has {self.settings.outputs} logits, where one is needed")
        logits, attention = self.classified(windows)
        return logits[:, 0], attention

    def classified(self, windows: Sequence[Float32s]) -> tuple[Float32s, list[Float32s]]:
        """Run W windows, (T, F) each, T >= 1 and of any length: the logits (W, K), and the attention of each, (T,)."""
        lengths = np.array([len(window) for window in windows], np.int64)
        samples = np.concatenate([np.empty((0, self.settings.input_size), np.float32), *windows])  # (N, F)
        logits, attention = self.kernel.score(samples.astype(np.float32, order="C", copy=False), lengths)
        return logits, np.split(attention, np.cumsum(lengths)[:-1]) if len(windows) else []


def _layers(settings: DefectConfig, weights: NetWeights) -> list[list[Layer]]:
    ways = ("", "_reverse") if settings.bidirectional else ("",)
    return [[layer_of(weights, f"l{layer}{way}") for way in ways] for layer in range(settings.num_layers)]


def _head(settings: DefectConfig, weights: NetWeights) -> list[tuple[Float32s, Float32s]]:
    places = [_STAGES * index for index in range(len(settings.hidden_dims) + 1)]
    return [(weights[f"classifier.{place}.weight"], weights[f"classifier.{place}.bias"]) for place in places]


def _scales(weights: NetWeights, norm: str, kind: type[np.floating[Any]]) -> tuple[Any, Any]:
    """A batch norm at inference as x * scale + shift, computed in ``kind``: torch's for inputs is float32."""
    mean, variance, weight, bias = (
        weights[f"{norm}.{name}"].astype(kind) for name in ("running_mean", "running_var", "weight", "bias")
    )
    scale = weight * (kind(1.0) / np.sqrt(variance + kind(_EPSILON)))
    return scale, bias - mean * scale


def _layer_norm(weights: NetWeights) -> tuple[Float32s, Float32s, float]:
    return weights["lstm_layer_norm.weight"], weights["lstm_layer_norm.bias"], _EPSILON
