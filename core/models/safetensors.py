"""Weights in a safetensors file: the length of a header, the header in JSON, then the bytes of the tensors.

The header may hold texts beside the tensors, its metadata.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_METADATA = "__metadata__"
_BFLOAT16 = "BF16"
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    _BFLOAT16: "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items() if name != _BFLOAT16}
_ALIGNMENT = 8  # of the first tensor's bytes in the file
_DAMAGED = "it is a safetensors file that is damaged or cut short: copy it again"


def looks_like_safetensors(raw: bytes) -> bool:
    """True if it begins as one: the length of the header, then the header, a JSON object."""
    return len(raw) > 9 and raw[8:9] == b"{" and struct.unpack("<Q", raw[:8])[0] < 2**27


def read_with_metadata(raw: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors of a file by name, as copies, and its texts. bfloat16 becomes float32.

    Raises:
        ValueError: a header that is not one, or a tensor whose bytes are not all there.
    """
    (size,) = struct.unpack("<Q", raw[:8])
    if 8 + size > len(raw):
        raise ValueError("it is a safetensors file that is cut short: copy it again")
    try:
        header: dict[str, Any] = json.loads(raw[8 : 8 + size])
        metadata = {str(name): str(text) for name, text in (header.pop(_METADATA, None) or {}).items()}
        body = memoryview(raw)[8 + size :]
        tensors = {name: _tensor(body, each) for name, each in header.items()}
        read = sum(each["data_offsets"][1] - each["data_offsets"][0] for each in header.values())
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"{_DAMAGED} ({error})") from error
    if read != len(body):
        raise ValueError(_DAMAGED)
    return tensors, metadata


def write_safetensors(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file; equal input gives equal bytes.

    Raises:
        TypeError: a tensor of numbers for which the format has no name.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))  # each at a multiple of its size
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    parts: list[bytes] = []
    end = 0
    for name in names:
        array = tensors[name]
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise TypeError(f"tensor {name!r} holds {dtype}, for which safetensors files have no name")
        parts.append(array.astype(dtype).tobytes())
        start, end = end, end + len(parts[-1])
        header[name] = {"dtype": _NAMES[dtype], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def _tensor(body: memoryview, told: dict[str, Any]) -> NDArray[Any]:
    dtype, shape, (first, end) = _DTYPES.get(told["dtype"]), told["shape"], told["data_offsets"]
    if dtype is None:
        raise ValueError(f"dtype {told['dtype']!r} is not read here")
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, first, end)):
        raise ValueError("a shape or place is not a number")
    part = bytes(body[first:end])
    if len(part) != end - first:
        raise ValueError("a tensor's bytes are missing")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(part):
        raise ValueError("a tensor's shape does not fit its bytes")
    found = np.frombuffer(part, dtype).reshape(shape)
    if told["dtype"] == _BFLOAT16:
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found.astype(found.dtype.newbyteorder("="))
