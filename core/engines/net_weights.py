"""A trained model's parts as plain arrays, by the names of its state dict: what nets without torch are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.arrays import Float32s

NetWeights = Mapping[str, Float32s]
Statistics = Mapping[str, Sequence[float]]
"""``mean`` and ``std`` of each of the F numbers of a sample, in training."""
LayerWeights = tuple[Float32s, Float32s, Float32s, Float32s]
"""weight_ih (4H, inputs), weight_hh (4H, H), bias_ih and bias_hh (4H,), as nn.LSTM has them."""


def layer_of(weights: NetWeights, place: str) -> LayerWeights:
    """The weights of one direction of a layer of ``lstm``, such as ``l0`` or ``l1_reverse``.

    Raises:
        KeyError: one is missing.
    """
    inputs, recurrent, bias, bias2 = (
        weights[f"lstm.{name}_{place}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return inputs, recurrent, bias, bias2
