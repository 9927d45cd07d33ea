"""The weights in a model file as arrays, and the statistics of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from core.errors import StartupError
from core.models.content import CheckpointError, checked_content
from core.models.finite import as_array

_Statistics = tuple[list[float], list[float]]


def read_arrays(path: Path, raw: bytes) -> tuple[dict[str, NDArray[Any]], _Statistics | None]:
    """The weights of a file by name, and the mean and std of its inputs if it has them.

    Raises:
        StartupError: it cannot be read as plain data, or holds no weights.
    """
    try:
        content = checked_content(path, raw)
    except CheckpointError as error:
        raise StartupError(str(error)) from error
    arrays = {name: as_array(name, each) for name, each in content["model_state_dict"].items()}
    return arrays, statistics_of(path, content)


def statistics_of(path: Path, content: Mapping[str, Any]) -> _Statistics | None:
    """The mean and std of a model's inputs in a file's content; raises StartupError for what is none."""
    told = content.get("input_statistics")
    if told is None:
        return None
    try:
        return [float(value) for value in told["mean"]], [float(value) for value in told["std"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StartupError(f"{path}: input_statistics must hold lists of mean and std") from error
