"""The signal model at inference: its compiled step, made from plain arrays. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, takewhile

import numpy as np

from core.arrays import Float32s, Int64s
from core.engines.net_weights import NetWeights, Statistics, layer_of
from core.native.lstm import LstmKernel


@dataclass(frozen=True)
class SignalNet:
    """A signal model's sizes and its compiled step: F features, H hidden units, L layers."""

    input_size: int
    hidden_size: int
    num_layers: int
    kernel: LstmKernel

    @classmethod
    def of(cls, weights: NetWeights, statistics: Statistics | None = None) -> SignalNet:
        """The net of a checkpoint's parts, which are taken as they are now.

        Args:
            weights: by the names of the model's state dict.
            statistics: applied to every sample; None: samples go in as they are.
        """
        layers = [layer_of(weights, f"l{layer}") for layer in takewhile(lambda i: _has_layer(weights, i), count())]
        inputs, recurrent, *_ = layers[0]
        features, hidden = inputs.shape[1], recurrent.shape[1]
        mean, std = (None, None) if statistics is None else (statistics["mean"], statistics["std"])
        head = (weights["fc.weight"], weights["fc.bias"])
        return cls(features, hidden, len(layers), LstmKernel(features, hidden, layers, head, mean, std))

    def advance(
        self, samples: Float32s, rows: Int64s, times: Int64s, lengths: Int64s, states: Float32s
    ) -> tuple[Float32s, Float32s]:
        """Step B rows through their samples; see `core.engines.infer.advance`."""
        after = states.astype(np.float32, order="C")  # a copy
        return self.kernel.advance(np.ascontiguousarray(samples), rows, times, lengths, after)[:, 0], after


def _has_layer(weights: NetWeights, layer: int) -> bool:
    return f"lstm.weight_hh_l{layer}" in weights
