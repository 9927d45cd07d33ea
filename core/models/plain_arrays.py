"""The weights in a file of torch as arrays, and the statistics of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from core.errors import StartupError
from core.models.checkpoint import CheckpointError, checked_content

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
    return {name: _array(each) for name, each in content["model_state_dict"].items()}, _statistics(path, content)


def _array(tensor: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = (tensor.detach().float() if tensor.is_floating_point() else tensor.detach()).numpy()
    return found


def _statistics(path: Path, content: Mapping[str, Any]) -> _Statistics | None:
    told = content.get("input_statistics")
    if told is None:
        return None
    try:
        return [float(value) for value in told["mean"]], [float(value) for value in told["std"]]
    except (KeyError, TypeError, ValueError) as error:
        raise StartupError(f"{path}: input_statistics must hold lists of mean and std") from error
