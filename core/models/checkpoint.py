"""Model files: written whole or not at all, read as plain data only, so that a file never runs code."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from core.models.finite import check_numbers
from core.models.formats import what_it_is
from core.models.names import with_weights
from core.models.safetensors import looks_like_safetensors, read_safetensors
from core.whole_file import whole_file


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
    with whole_file(path) as partial, partial.open("xb") as file:
        torch.save(data, file)
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, all tensors on the CPU, the weights as ``model_state_dict`` by the model's own names.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: not written by torch (1.6 or later) nor safetensors, damaged, not plain data, without weights,
            or with numbers that are not finite; it says what the file is, where that is known.
    """
    if not path.exists():
        raise FileNotFoundError(f"Checkpoint not found: {path}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    return checked_content(path, raw)


def checked_content(path: Path, raw: bytes) -> dict[str, Any]:
    """The content of a checkpoint's bytes; raises CheckpointError as `read_checkpoint`."""
    content = _plain_content(path, raw)
    try:
        checked = with_weights(content)
    except ValueError as error:
        raise CheckpointError(f"{path} {error}") from error
    try:
        check_numbers(checked)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return checked


def _plain_content(path: Path, raw: bytes) -> Any:
    """Read the file as plain data only: nothing of it is run."""
    try:
        if looks_like_safetensors(raw):
            return {name: torch.from_numpy(array) for name, array in read_safetensors(raw).items()}
        damaged = _damaged_part(io.BytesIO(raw))
        content: Any = None if damaged else torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch raise a dozen types, from KeyError to UnpicklingError
        told = str(error) if looks_like_safetensors(raw) else what_it_is(raw)
        raise CheckpointError(f"{path} is not a PyTorch file of plain data{f': {told}' if told else ''}") from error
    if damaged:
        raise CheckpointError(f"{path} is damaged: the checksum of its part {damaged!r} does not fit")
    return content


def _damaged_part(raw: BinaryIO) -> str | None:
    """The first part of the archive that its checksum does not fit. torch looks at none of those of the weights.

    Raises:
        Exception: of many types, where it is no archive, or none as torch writes them: without compression, so that no
            part is larger than the file.
    """
    with zipfile.ZipFile(raw) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise zipfile.BadZipFile("compressed")
        if any(part.filename.endswith("/constants.pkl") for part in parts):
            raise zipfile.BadZipFile("TorchScript")  # torch.load would warn, and then refuse it
        return archive.testzip()


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
