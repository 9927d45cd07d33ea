"""The name of a model in every output: a hash of everything that decides its predictions."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch

from core.models.defect_lstm import SteelDefectLSTM
from core.models.signal_lstm import SignalExtractionLSTM

AnyModel = SignalExtractionLSTM | SteelDefectLSTM


def fingerprint(model: AnyModel) -> str:
    """First 12 hex digits of a SHA-256 over architecture, calibration, input statistics and weights.

    The same before saving and after loading, on every device. Only what moves a prediction is in it: dropout,
    weight decay and gradient clip are not.
    """
    head = {
        "architecture": architecture(model),
        "calibration": _floats(model.calibration),
        "input_statistics": _floats(model.input_statistics),
    }
    digest = hashlib.sha256(_canonical(head))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(_canonical([name, list(tensor.shape)]))
        values = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(values.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()[:12]


def architecture(model: AnyModel) -> dict[str, Any]:
    """Return the facts that decide the flow of a forward pass at inference, as plain data."""
    sizes = {"input_size": model.input_size, "hidden_size": model.hidden_size, "num_layers": model.num_layers}
    if isinstance(model, SignalExtractionLSTM):
        return {"model": "SignalExtractionLSTM", **sizes}
    return {
        "model": "SteelDefectLSTM",
        **sizes,
        "bidirectional": model.bidirectional,
        "readout": model.readout,
        "classifier_dims": model.classifier_hidden_dims,
        "activation": model.classifier_activation,
        "input_norm": model.use_input_norm,
        "batch_norm": model.use_batch_norm,
        "layer_norm": model.use_layer_norm,
    }


def _floats(values: Any) -> Any:
    """Numbers as the Python floats that a loaded file has: 1 and 1.0 must not hash apart."""
    if values is None:
        return None
    return {name: np.asarray(value, dtype=np.float64).tolist() for name, value in values.items()}


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
