"""A trained model's parts as plain arrays, by the names of its state dict: what nets without torch are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.arrays import Float32s
from core.models.recurrent_weights import Layer

NetWeights = Mapping[str, Float32s]
Statistics = Mapping[str, Sequence[float]]
"""``mean`` and ``std`` of each of the F numbers of a sample, in training."""


def layer_of(weights: NetWeights, place: str) -> Layer:
    """The weights of one direction of a layer of ``lstm``, such as ``l0`` or ``l1_reverse``.

    Raises:
        KeyError: one is missing.
    """
    inputs, recurrent, bias, bias2 = (
        weights[f"lstm.{name}_{place}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return inputs, recurrent, bias, bias2
