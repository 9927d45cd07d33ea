"""Weights in a safetensors file: the length of a header, the header in JSON, then the bytes of the tensors."""

from __future__ import annotations

import json
import struct
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(raw: bytes) -> dict[str, Tensor]:
    """The tensors of a file, by name; copies.

    Raises:
        ValueError: a header that is not one, or a tensor whose bytes are not all there.
    """
    (size,) = struct.unpack("<Q", raw[:8])
    if 8 + size > len(raw):
        raise ValueError("it is a safetensors file that is cut short: copy it again")
    try:
        header: dict[str, Any] = json.loads(raw[8 : 8 + size])
        body = memoryview(raw)[8 + size :]
        tensors = {name: _tensor(body, told) for name, told in header.items() if name != "__metadata__"}
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"it is a safetensors file that is damaged or cut short: copy it again ({error})") from error
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) != len(body):
        raise ValueError("it is a safetensors file that is damaged or cut short: copy it again")
    return tensors


def _tensor(body: memoryview, told: dict[str, Any]) -> Tensor:
    dtype, shape, (first, end) = _DTYPES.get(told["dtype"]), told["shape"], told["data_offsets"]
    if dtype is None:
        raise ValueError(f"dtype {told['dtype']!r} is not read here")
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, first, end)):
        raise ValueError("a shape or place is not a number")
    part = bytearray(body[first:end])
    if len(part) != end - first:
        raise ValueError("a tensor's bytes are missing")
    flat = torch.frombuffer(part, dtype=dtype) if part else torch.empty(0, dtype=dtype)
    try:
        return flat.reshape(shape)
    except RuntimeError as error:
        raise ValueError("a tensor's shape does not fit its bytes") from error
