"""The scale of a model's numbers: what a difference is compared with where the number itself is smaller.

float32 rounds in relation to the terms of a sum, not to the sum: where terms cancel, a small number is off by more than
its own last digits. So numbers need a floor. It was 1 for all models, and then nothing judged the outputs of a model
whose numbers are 1e-6, metres of vibration for instance. A floor made of the outputs of a partition would be too low
where a few of them lie near zero by chance. Noise in the fields' ranges drives a model to its ends, where its terms
do not cancel: the largest number it gives there stands for the terms. It counts up to 1: above, nothing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scales:
    """The scale of each tensor, by name, and of the state; 1 where none is known."""

    tensors: Mapping[str, float] = field(default_factory=dict)
    state: float = 1.0
