"""Check that a checkpoint's numbers are finite: one NaN in a weight silently makes every output NaN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


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


def check_tensor(name: str, tensor: Tensor, positive: bool = False) -> None:
    """Check that every number is finite in float32, and above 0 where it has to be ``positive``.

    Raises:
        ValueError: naming the first place where it is not.
    """
    if tensor.is_meta or tensor.layout != torch.strided:
        raise ValueError(f"{name} holds no numbers that can be read ({tensor.device}, {tensor.layout})")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return
    if tensor.is_complex():
        raise ValueError(f"{name} holds complex numbers")
    used = tensor.to(torch.float32)
    bad = ~torch.isfinite(used) | (used <= 0) if positive else ~torch.isfinite(used)
    if bool(bad.any()):
        place = torch.nonzero(bad)[0].tolist()
        value = float(tensor[tuple(place)])
        at = f" at {place}" if place else ""
        raise ValueError(f"{name}{at} is {value:g}: must be {'above 0 and ' if positive else ''}finite in float32")


def tensors_in(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested plain data, with its place."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{place}[{index}]")


def _numbers(section: Any) -> Iterator[tuple[str, Tensor]]:
    """The lists of numbers in a section; anything else is refused where it is used."""
    if not isinstance(section, Mapping):
        return
    for name, values in section.items():
        try:
            yield str(name), torch.tensor(values, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            continue
