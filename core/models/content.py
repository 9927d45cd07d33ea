"""The content of a model file: read as plain data only, its weights by the model's own names, its numbers checked.

A file never runs code. PyTorch is loaded for its own files alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.models.finite import check_numbers
from core.models.formats import is_archive_of_torch, what_it_is
from core.models.names import with_weights
from core.models.packed import unpack
from core.models.safetensors import looks_like_safetensors

NEEDS_TORCH = (
    "it is a file of PyTorch, which is not installed here: pip install 'caststream[train]', or convert the file to "
    "safetensors where PyTorch is: caststream task convert FILE"
)


class CheckpointError(RuntimeError):
    """A file that is not a usable checkpoint."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Failed to load checkpoint: {problem}")


def read_content(path: Path) -> dict[str, Any]:
    """A checkpoint's content, the weights as ``model_state_dict`` by the model's own names.

    The weights are arrays; of a file of PyTorch, tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: not written by torch (1.6 or later) nor safetensors, damaged, not plain data, without weights,
            or with numbers that are not finite; it says what the file is, where that is known. Or it is a file of
            PyTorch, and that is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(f"Checkpoint not found: {path}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    return checked_content(path, raw)


def checked_content(path: Path, raw: bytes) -> dict[str, Any]:
    """The content of a checkpoint's bytes; raises CheckpointError as `read_content`."""
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
    if looks_like_safetensors(raw):
        try:
            return unpack(raw)
        except ValueError as error:
            raise CheckpointError(f"{path} is not a PyTorch file of plain data: {error}") from error
    try:
        from core.models.torch_file import DamagedError, load
    except ImportError as error:
        told = NEEDS_TORCH if is_archive_of_torch(raw) else what_it_is(raw) or NEEDS_TORCH
        raise CheckpointError(f"{path}: {told}") from error
    try:
        return load(raw)
    except DamagedError as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # zipfile and torch raise a dozen types, from KeyError to UnpicklingError
        told = f": {what}" if (what := what_it_is(raw)) else ""
        raise CheckpointError(f"{path} is not a PyTorch file of plain data{told}") from error
