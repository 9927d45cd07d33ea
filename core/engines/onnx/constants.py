"""Inputs of a graph that never change, as the arrays that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engines.onnx.session import Port
from core.errors import StartupError

_DTYPES: dict[str, type] = {
    "tensor(bool)": np.bool_,
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


def as_constant(file: str, port: Port, value: Any) -> NDArray[Any]:
    """A declared value in the type and shape of its input; a single number fills every axis of fixed size.

    Raises:
        StartupError: it does not fit.
    """
    dtype = _DTYPES.get(port.type)
    if dtype is None:
        raise StartupError(f"{file}: constants: input {port} takes no numbers")
    try:
        given = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StartupError(
            f"{file}: constants: {port.name} = {value!r} is no number and no array of numbers"
        ) from error
    found: NDArray[Any] = given.astype(dtype)
    if not np.array_equal(found.astype(np.float64), given) and not np.issubdtype(dtype, np.floating):
        raise StartupError(f"{file}: constants: {port.name} = {value!r} does not fit the input {port}")
    if given.ndim == 0:
        return np.full([size if isinstance(size, int) else 1 for size in port.shape], found, dtype)
    fits = len(port.shape) == given.ndim and all(
        not isinstance(size, int) or size == length for size, length in zip(port.shape, given.shape, strict=True)
    )
    if not fits:
        raise StartupError(f"{file}: constants: {port.name} has the shape {list(given.shape)}, the input is {port}")
    return found
