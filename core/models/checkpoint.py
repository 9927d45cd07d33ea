"""Model files: written whole or not at all, read as plain data only, so that a file never runs code."""

from __future__ import annotations

import io
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor


class CheckpointError(RuntimeError):
    """A file that is not a usable checkpoint."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Failed to load checkpoint: {problem}")


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint that a plain ``torch.load`` (weights only) reads; parent folders are made.

    The file appears complete under its name or does not appear: an interrupted save leaves the old one.

    Raises:
        TypeError: a value in ``content`` that is not plain data, named by its place.
    """
    data = plain(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # same folder: os.replace must not copy
    try:
        with temporary.open("xb") as file:
            torch.save(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, all tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: not written by torch (1.6 or later), damaged, not plain data, or without weights.
    """
    if not path.exists():
        raise FileNotFoundError(f"Checkpoint not found: {path}")
    try:
        raw = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        damaged = _damaged_part(raw)
        raw.seek(0)
        content: Any = None if damaged else torch.load(raw, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch raise a dozen types, from KeyError to UnpicklingError
        raise CheckpointError(f"{path} is not a PyTorch file of plain data") from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: the checksum of its part {damaged!r} does not fit")
    if isinstance(content, dict):
        weights = content.get("model_state_dict")
        if isinstance(weights, dict) and all(isinstance(value, Tensor) for value in weights.values()):
            return content
    raise CheckpointError(f"{path} holds no 'model_state_dict' with a model's weights")


def _damaged_part(raw: BinaryIO) -> str | None:
    """The first part of the archive that its checksum does not fit. torch looks at none of those of the weights.

    Raises:
        Exception: of many types, where it is no archive, or none as torch writes them: without compression, so that no
            part is larger than the file.
    """
    with zipfile.ZipFile(raw) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise zipfile.BadZipFile("compressed")
        return archive.testzip()


def plain(value: Any, place: str = "checkpoint") -> Any:
    """The same as tensors, numbers, strings, lists, tuples and dicts: numpy scalars become Python numbers.

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
