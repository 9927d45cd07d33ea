"""Check that a checkpoint's numbers are finite: one NaN in a weight silently makes every output NaN.

Weights may be arrays or tensors of PyTorch, which is not loaded here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.models.names import is_tensor


def check_numbers(content: Mapping[str, Any]) -> None:
    """Check weights, running statistics, input statistics, calibration and training ranges, as float32.

    Raises:
        ValueError: naming the tensor and the first bad place in it.
    """
    for name, tensor in content["model_state_dict"].items():
        check_tensor(f"tensor {name!r}", tensor, positive=name.endswith("running_var"))
    for part in ("input_statistics", "calibration", "training_ranges"):
        for name, values in _numbers(content.get(part)):
            check_tensor(f"{part} {name!r}", values, positive=(part, name) == ("input_statistics", "std"))


def check_tensor(name: str, tensor: Any, positive: bool = False) -> None:
    """Check that every number is finite in float32, and above 0 where it has to be ``positive``.

    Raises:
        ValueError: naming the first place where it is not.
    """
    array = as_array(name, tensor)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} holds complex numbers")
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        used = array.astype(np.float32)
    bad = ~np.isfinite(used) | (used <= 0) if positive else ~np.isfinite(used)
    if bad.any():
        place = np.argwhere(bad)[0].tolist()
        at = f" at {place}" if place else ""
        value = float(array[tuple(place)])
        raise ValueError(f"{name}{at} is {value:g}: must be {'above 0 and ' if positive else ''}finite in float32")


def as_array(name: str, tensor: Any) -> NDArray[Any]:
    """An array, or a tensor of PyTorch as an array; numbers that numpy does not know become float32.

    Raises:
        ValueError: the tensor holds no numbers that can be read.
    """
    if isinstance(tensor, np.ndarray):
        return tensor
    if tensor.is_meta or str(tensor.layout) != "torch.strided":
        raise ValueError(f"{name} holds no numbers that can be read ({tensor.device}, {tensor.layout})")
    found = tensor.detach().cpu().resolve_neg().resolve_conj()
    try:
        array: NDArray[Any] = found.numpy()
    except TypeError:  # bfloat16 and the like
        array = found.float().numpy()
    return array


def tensors_in(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every tensor in nested plain data, with its place."""
    if is_tensor(value):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{place}[{index}]")


def _numbers(section: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """The lists of numbers in a section; anything else is refused where it is used."""
    if not isinstance(section, Mapping):
        return
    for name, values in section.items():
        try:
            found = np.asarray(values)
        except ValueError:  # lists of several lengths
            continue
        if found.dtype.kind in "biuf":
            yield str(name), found.astype(np.float64)
