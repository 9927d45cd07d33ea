"""The weights in a model file as arrays, and the statistics of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import StartupError
from core.models.content import CheckpointError, checked_content
from core.models.finite import as_array, check_tensor

MeanAndStd = tuple[list[float], list[float]]


def read_arrays(path: Path, raw: bytes) -> tuple[dict[str, NDArray[Any]], MeanAndStd | None]:
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


def statistics_of(path: Path, content: Mapping[str, Any]) -> MeanAndStd | None:
    """The mean and std of a model's inputs in a file's content; raises StartupError for what is none, or not finite."""
    told = content.get("input_statistics")
    if told is None:
        return None
    try:
        mean, std = ([float(value) for value in told[name]] for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StartupError(f"{path}: input_statistics must hold lists of mean and std") from error
    try:
        check_tensor("input_statistics 'mean'", np.array(mean))
        check_tensor("input_statistics 'std'", np.array(std), positive=True)
    except ValueError as error:
        raise StartupError(f"{path}: {error}") from error
    return mean, std
