"""Model files for PyTorch: written whole or not at all, read as plain data only, so that a file never runs code.

A file that ends in .safetensors is one, every other is PyTorch's. What runs without PyTorch reads with `content`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.models import torch_file
from core.models.content import CheckpointError, read_content
from core.models.packed import SUFFIX, pack
from core.whole_file import whole_file

__all__ = ["CheckpointError", "plain", "read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; parent folders are made. One of PyTorch is read by a plain ``torch.load`` (weights only).

    The file appears complete under its name or does not appear: an interrupted save leaves the old one.

    Raises:
        TypeError: a value in ``content`` that is not plain data, or that a safetensors file cannot hold (tensors beside
            the weights, an optimizer's for one), named by its place.
    """
    data = plain(content)
    packed = pack(data | {"model_state_dict": _arrays(data)}) if path.suffix == SUFFIX else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, partial.open("xb") as file:
        torch_file.save(data, file) if packed is None else file.write(packed)
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, all tensors on the CPU, the weights as ``model_state_dict`` by the model's own names.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: as `core.models.content.read_content`.
    """
    content = read_content(path)
    weights = {name: torch.as_tensor(each) for name, each in content["model_state_dict"].items()}
    return content | {"model_state_dict": weights}


def _arrays(data: Mapping[str, Any]) -> dict[str, Any]:
    """The weights as arrays; bfloat16, which numpy does not know, as float32."""
    found = {name: tensor.detach().cpu() for name, tensor in data["model_state_dict"].items()}
    return {name: (each.float() if each.dtype == torch.bfloat16 else each).numpy() for name, each in found.items()}


def plain(value: Any, place: str = "checkpoint") -> Any:
    """Return the content as tensors, numbers, strings, lists, tuples and dicts: numpy scalars become Python numbers.

    Raises:
        TypeError: naming the place of a value that has no plain form.
    """
    if isinstance(value, (np.generic, np.ndarray)):  # before float: np.float64 is one
        return plain(value.tolist(), place)
    if value is None or type(value) in (bool, int, float, str, bytes, complex, torch.Size, torch.dtype, torch.device):
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {plain(key, f"{place} key"): plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    for base in (int, float, str):  # IntEnum and the like
        if isinstance(value, base):
            return base(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{place} is a {type(value).__name__}: a model file holds plain data only")
