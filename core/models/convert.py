"""A model file of PyTorch as safetensors, which is read without PyTorch."""

from __future__ import annotations

from pathlib import Path

from core.errors import StartupError
from core.models.checkpoint import CheckpointError, read_checkpoint, write_checkpoint


def convert(file: Path, out: Path) -> None:
    """Write the weights of a model file, and what stands beside them, to ``out``, whose name ends in .safetensors.

    Raises:
        StartupError: there is no such file, it is no model, it holds what safetensors cannot, or ``out`` is there.
    """
    if out.exists():
        raise StartupError(f"{out} is there already: remove it, or name another file with --out")
    try:
        write_checkpoint(out, read_checkpoint(file))
    except FileNotFoundError as error:
        raise StartupError(f"{file}: there is no such file") from error
    except CheckpointError as error:
        raise StartupError(str(error).removeprefix("Failed to load checkpoint: ")) from error
    except TypeError as error:
        raise StartupError(f"{file}: {error}") from error
