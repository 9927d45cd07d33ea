"""A model ready to run on a device: plain arrays for the CPU, a PyTorch model for a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from core.errors import StartupError
from core.models.fingerprint import AnyModel
from core.models.shipped import ModelKind
from core.models.weights_file import ModelWeights, read_weights

RunModel: TypeAlias = "ModelWeights | AnyModel"


def open_model(path: Path | str, kind: ModelKind, device: str = "cpu") -> RunModel:
    """The model of a checkpoint on a device; only one on a GPU loads PyTorch, and a file of PyTorch.

    Raises:
        StartupError: as `read_weights`; or the device is not there, or PyTorch is not.
    """
    if not device.startswith("cuda"):
        return read_weights(path, kind)
    try:
        from core.models.factory import load_model
    except ImportError as error:
        raise StartupError(
            f"device is {device}: this needs PyTorch: pip install 'caststream[cuda]', or set device to cpu ({error})"
        ) from error
    return load_model(path, kind, device)
