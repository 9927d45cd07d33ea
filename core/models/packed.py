"""A checkpoint's content as a safetensors file: weights as tensors, the rest as JSON in the metadata, and a checksum.

Safetensors files of others have weights alone, and are read too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.models.safetensors import read_with_metadata, write_safetensors

SUFFIX = ".safetensors"
_REST, _CHECKSUM = "caststream", "caststream.sha256"
WEIGHTS = "model_state_dict"
_ADVICE = "take it out, or name the file .pt: a safetensors file holds weights, and beside them what JSON can say"


def pack(content: Mapping[str, Any]) -> bytes:
    """The bytes of a file with this content, whose weights are arrays.

    Raises:
        TypeError: what stands beside the weights has no form in JSON; its place is named.
    """
    rest = {name: value for name, value in content.items() if name != WEIGHTS}
    _check_plain(rest, "checkpoint")
    weights: dict[str, NDArray[Any]] = content[WEIGHTS]
    text = json.dumps(rest, separators=(",", ":"))
    # "format" is what other readers look at: the names of the tensors are those of PyTorch.
    return write_safetensors(weights, {"format": "pt", _REST: text, _CHECKSUM: _checksum(weights, text)})


def unpack(raw: bytes) -> dict[str, Any]:
    """The content of a file; its weights are arrays. Of a file of others, all tensors by their names.

    Raises:
        ValueError: it is damaged.
    """
    weights, metadata = read_with_metadata(raw)
    text = metadata.get(_REST)
    if text is None:
        return dict(weights)
    if _checksum(weights, text) != metadata.get(_CHECKSUM):
        raise ValueError("it is a safetensors file that is damaged: its checksum does not fit: copy it again")
    try:
        return {**json.loads(text), WEIGHTS: weights}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"its metadata {_REST!r} is not what caststream writes ({error})") from error


def _checksum(weights: Mapping[str, NDArray[Any]], rest: str) -> str:
    """A hash of all that the file says, wherever it stands in it."""
    digest = hashlib.sha256(rest.encode())
    for name, array in sorted(weights.items()):
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _check_plain(value: Any, place: str) -> None:
    """Raise TypeError for what JSON would refuse, or give back as something else than a list in place of a tuple."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{place} has the key {key!r}: {_ADVICE}")
            _check_plain(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f"{place}[{index}]")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise TypeError(f"{place} is a {type(value).__name__}: {_ADVICE}")
