"""The files of a training: the best model, and beside it the last one with all that a resumed run needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from core.errors import RunError, StartupError
from core.models.checkpoint import CheckpointError, plain, read_checkpoint, write_checkpoint
from core.models.factory import ModelFactory
from core.models.finite import check_tensor, tensors_in
from core.models.packed import SUFFIX as SAFETENSORS
from core.training.config import TrainingSettings
from core.training.own_model import OwnModel

if TYPE_CHECKING:
    from core.models.fingerprint import AnyModel

TrainedModel: TypeAlias = "AnyModel | OwnModel"
SUFFIXES = (SAFETENSORS, ".pt")
# These may differ in a resumed run; epochs only where the learning rate does not depend on them.
FREE = ("epochs", "max_minutes", "device", "threads")


def beside(out: Path, ending: str) -> Path:
    """Return the place of a file that belongs to the checkpoint ``out``: signal.safetensors and signal.md."""
    return out.with_name(f"{out.stem if out.suffix in SUFFIXES else out.name}{ending}")


def last_path(out: Path) -> Path:
    """Return the place of the last model, a file of PyTorch: it holds the optimizer's tensors."""
    return beside(out, ".last.pt")


def for_workers(out: Path) -> Path:
    """Return the file of the best model that needs no PyTorch: one beside ``out``, where that is a .pt."""
    return beside(out, SAFETENSORS) if out.suffix == ".pt" else out


def files_of(out: Path) -> list[Path]:
    """All files that belong to the checkpoint ``out``: the best model, the last one, the card."""
    return [*dict.fromkeys((out, for_workers(out))), last_path(out), beside(out, ".md")]


def check_writable(out: Path) -> None:
    """Find out before the training whether its files can be written.

    Raises:
        StartupError: they cannot.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"{out.parent}: cannot be made: {error.strerror or error}") from error
    if out.is_dir():
        raise StartupError(f"{out}: is a folder, the model needs a file")
    if out.exists() and not out.is_file():
        raise StartupError(f"{out}: is no plain file, and would be replaced")
    if not os.access(out.parent, os.W_OK):
        raise StartupError(f"{out.parent}: models cannot be written there: permission denied")


def save(model: TrainedModel, path: Path, **content: Any) -> None:
    """`ModelFactory.save_checkpoint`, or a model's own; where it fails, the file that was there is still whole.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        if isinstance(model, OwnModel):
            model.save(path, **content)
        else:
            ModelFactory.save_checkpoint(model, path, **content)
    except (OSError, RuntimeError) as error:  # torch turns an OSError below it into a RuntimeError
        raise RunError(f"{path} cannot be written: {_reason(error)}") from error


def save_for_workers(out: Path) -> None:
    """Write the best model a second time, in the form that needs no PyTorch; raises RunError as `save`."""
    path = for_workers(out)
    if path == out:
        return
    try:
        write_checkpoint(path, read_checkpoint(out))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {_reason(error)}; {out} is whole") from error


def _reason(error: BaseException) -> str:
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return " ".join(str(error).split())[:200]


def load_last(out: Path, settings: TrainingSettings, extras: Mapping[str, Any]) -> dict[str, Any]:
    """The last model of a training that may be resumed with ``settings`` on the data that ``extras`` describe.

    Raises:
        StartupError: there is none, it is damaged, or it was trained otherwise.
    """
    path = last_path(out)
    try:
        content = read_checkpoint(path)
    except FileNotFoundError:
        raise StartupError(f"{path}: no such file, so there is nothing to resume: no epoch was completed") from None
    except CheckpointError as error:
        raise StartupError(f"{path}: nothing can be resumed: {error}") from error
    stored = content.get("resume")
    if not isinstance(stored, dict):
        raise StartupError(f"{path}: holds a model, but nothing that a training could be resumed from")
    try:
        for part in ("resume", "optimizer_state_dict"):
            for place, tensor in tensors_in(content.get(part), part):
                check_tensor(place, tensor)
    except ValueError as error:
        raise StartupError(f"{path}: nothing can be resumed: {error}") from error
    if not out.exists():
        raise StartupError(f"{out}: no such file; it holds the best model of the training that {path} would resume")
    _compare(path, stored["settings"], settings)
    if stored["data"] != plain(extras.get("data")):
        raise StartupError(f"{path}: was trained on other data: {stored['data']}, not {extras.get('data')}")
    return content


def _compare(path: Path, stored: Mapping[str, Any], settings: TrainingSettings) -> None:
    free = FREE if settings.schedule in ("constant", "plateau") else FREE[1:]
    given = plain(msgspec.to_builtins(settings))
    keys = [key for key in given | dict(stored) if key not in free and given.get(key) != stored.get(key)]
    if keys:
        told = ", ".join(f"{key} {stored.get(key)!r} (now {given.get(key)!r})" for key in keys)
        raise StartupError(f"{path}: was trained with {told}; resume with the same settings, or without --resume")
