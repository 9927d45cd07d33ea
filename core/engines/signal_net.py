"""The signal model at inference: its compiled step, made from plain arrays. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Float32s, Int64s
from core.native.lstm import LstmKernel

Statistics = Mapping[str, Sequence[float]]
"""``mean`` and ``std`` of each of the F numbers of a sample, in training."""


def make_kernel(weights: Mapping[str, Float32s], statistics: Statistics | None = None) -> LstmKernel:
    """The compiled step of a signal model.

    Args:
        weights: by the names of its state dict.
        statistics: applied to every sample; None: samples go in as they are.
    """
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layers = [
        (one["weight_ih"], one["weight_hh"], one["bias_ih"], one["bias_hh"])
        for one in ({name: weights[f"lstm.{name}_l{layer}"] for name in names} for layer in range(count_layers(weights)))
    ]
    _, features = weights["lstm.weight_ih_l0"].shape
    _, hidden = weights["lstm.weight_hh_l0"].shape
    mean, std = (None, None) if statistics is None else (statistics["mean"], statistics["std"])
    return LstmKernel(features, hidden, layers, (weights["fc.weight"], weights["fc.bias"]), mean, std)


def count_layers(weights: Mapping[str, Float32s]) -> int:
    """L, of an LSTM by the names of a state dict."""
    layer = 0
    while f"lstm.weight_hh_l{layer}" in weights:
        layer += 1
    return layer


@dataclass(frozen=True)
class SignalNet:
    """A signal model's sizes and its compiled step: F features, H hidden units, L layers."""

    input_size: int
    hidden_size: int
    num_layers: int
    kernel: LstmKernel

    @classmethod
    def of(cls, weights: Mapping[str, Float32s], statistics: Statistics | None = None) -> SignalNet:
        """The net of weights, which are taken as they are now; arguments as `make_kernel` has them."""
        _, features = weights["lstm.weight_ih_l0"].shape
        _, hidden = weights["lstm.weight_hh_l0"].shape
        return cls(features, hidden, count_layers(weights), make_kernel(weights, statistics))

    def advance(
        self, samples: Float32s, rows: Int64s, times: Int64s, lengths: Int64s, states: Float32s
    ) -> tuple[Float32s, Float32s]:
        """Step B rows through their samples; see `core.engines.infer.advance`."""
        after = states.astype(np.float32, order="C")  # a copy
        return self.kernel.advance(np.ascontiguousarray(samples), rows, times, lengths, after)[:, 0], after
