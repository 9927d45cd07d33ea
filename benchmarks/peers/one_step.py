"""One LSTM step for one record, in torch: what the peers that take one message after the other do with it.

They differ in who keeps the state and who moves the bytes. That is what is measured, so this part is the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path

torch.set_num_threads(1)

_model: Any = load_model(checkpoint_path("signal"), "signal")
_statistics = {name: torch.tensor(row) for name, row in (_model.input_statistics or {}).items()}
_shape = (2, _model.num_layers, 1, _model.hidden_size)  # h and c, (L, B, H) each

MODEL = fingerprint(_model)
ZEROS = bytes(4 * 2 * _model.num_layers * _model.hidden_size)
"""The state of a stream that has not been seen yet."""


@torch.inference_mode()
def advance(signal: float, condition_vector: Sequence[float], state: bytes) -> tuple[float, bytes]:
    """One step of one stream.

    Args:
        state: h, then c, as float32. Raw bytes: as JSON or as a pickle it would only be larger and slower.

    Returns:
        The prediction, and the state after it.
    """
    x = torch.tensor([[[signal, *condition_vector]]])  # (1, 1, F)
    h, c = torch.frombuffer(bytearray(state), dtype=torch.float32).view(_shape)
    if _statistics:
        x = (x - _statistics["mean"]) / _statistics["std"]
    output, (h, c) = _model(x, (h, c))
    return output.item(), torch.stack((h, c)).numpy().tobytes()
