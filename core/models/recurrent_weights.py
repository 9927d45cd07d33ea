"""The weights of a torch LSTM or GRU with one linear layer behind it, found by their names in a state dict.

Shapes: F features, H hidden units, G gates of a unit (an LSTM has 4, a GRU 3), K numbers of the linear layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s
from core.errors import StartupError
from core.models.packed import WEIGHTS, unpack
from core.models.plain_arrays import MeanAndStd, read_arrays, statistics_of
from core.models.safetensors import looks_like_safetensors

Arrays = Mapping[str, NDArray[Any]]
Layer = tuple[Float32s, Float32s, Float32s, Float32s]
"""weight_ih (G*H, F or H), weight_hh (G*H, H), bias_ih (G*H,), bias_hh (G*H,)"""
Cell = Literal["LSTM", "GRU"]

_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_RECURRENT = re.compile(r"(.*?)(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_l(\d{1,4})(_reverse)?", re.DOTALL)
_COUNTERS = ("n_averaged", "num_batches_tracked")
_GATES: dict[Cell, int] = {"LSTM": 4, "GRU": 3}
_CELLS = {gates: cell for cell, gates in _GATES.items()}
_ONNX = "export the model to ONNX (caststream task export-help torch), which runs any graph"
_SHOWN = 5


@dataclass(frozen=True)
class RecurrentWeights:
    """All of a model: its cell, L layers, the linear layer (K, H) and (K,), and the mean and std (F,) that its inputs
    are standardised by, if they are.
    """

    cell: Cell
    layers: tuple[Layer, ...]
    head: tuple[Float32s, Float32s]
    statistics: MeanAndStd | None = None

    @property
    def features(self) -> int:
        """F."""
        return int(self.layers[0][0].shape[1])

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.layers[0][1].shape[1])


def read_recurrent(file: str, raw: bytes) -> RecurrentWeights:
    """The weights in a safetensors file, or in a file of torch.

    Args:
        file: its name, for messages.
        raw: its bytes.

    Raises:
        StartupError: it cannot be read as plain data, or holds another model: which tensor, and what to do.
    """
    if not looks_like_safetensors(raw):
        return find_recurrent(file, *read_arrays(Path(file), raw))
    try:
        content = unpack(raw)
    except ValueError as error:
        raise StartupError(f"{file}: {error}") from error
    return find_recurrent(file, content.get(WEIGHTS, content), statistics_of(Path(file), content))


def find_recurrent(file: str, arrays: Arrays, statistics: MeanAndStd | None = None) -> RecurrentWeights:
    """Find an LSTM or a GRU and its linear layer among named arrays; raises StartupError as `read_recurrent`."""
    arrays = {name: array for name, array in arrays.items() if name.rpartition(".")[2] not in _COUNTERS}
    prefix, count = _check_kind(file, arrays)
    cell = _cell(file, prefix, arrays)
    first, hidden = arrays[f"{prefix}weight_ih_l0"], int(arrays[f"{prefix}weight_hh_l0"].shape[1])
    rows = _GATES[cell] * hidden
    biased = any(f"{prefix}bias_{part}_l0" in arrays for part in ("ih", "hh"))
    layers = []
    for index in range(count):
        width = hidden if index else first.shape[1]
        shapes = (rows, width), (rows, hidden), (rows,), (rows,)
        names = [f"{prefix}{part}_l{index}" for part in _PARTS]
        layers.append(tuple(_take(file, arrays, *each, biased) for each in zip(names, shapes, strict=True)))
    own = {f"{prefix}{part}_l{index}" for part in _PARTS for index in range(count)}
    head = _find_head(file, {name: array for name, array in arrays.items() if name not in own}, hidden)
    if statistics is not None and any(len(each) != first.shape[1] for each in statistics):
        raise StartupError(f"{file}: input_statistics must hold {first.shape[1]} values of mean and of std")
    return RecurrentWeights(cell, tuple(layers), head, statistics)  # type: ignore[arg-type]


def _check_kind(file: str, arrays: Arrays) -> tuple[str, int]:
    """The names' prefix and the number of layers of the one recurrent layer; raises StartupError for anything else."""
    found = {name: match for name in arrays if (match := _RECURRENT.fullmatch(name))}
    prefixes = dict.fromkeys(match[1] for match in found.values())
    if not prefixes:
        raise StartupError(
            f"{file}: holds no LSTM and no GRU: there is no tensor whose name ends in weight_ih_l0, as nn.LSTM and "
            f"nn.GRU have it; there are {_listed(arrays)}; save the state dict of a model of one of them and one "
            f"nn.Linear, or {_ONNX}"
        )
    if len(prefixes) > 1:
        raise StartupError(
            f"{file}: holds {len(prefixes)} recurrent layers, {_listed(prefixes)}: the compiled kernel "
            f"runs one nn.LSTM or nn.GRU of num_layers layers; {_ONNX}"
        )
    for name, match in found.items():
        if match[4]:
            raise StartupError(
                f"{file}: tensor '{name}' is of a bidirectional layer, which reads a sequence from its end too: a live "
                "stream has none yet; train one that reads forwards"
            )
        if match[2] == "weight_hr":
            raise StartupError(
                f"{file}: tensor '{name}' is of an LSTM with projections (proj_size): the compiled kernel has none; "
                f"{_ONNX}"
            )
    (prefix,) = prefixes
    return prefix, 1 + max(int(match[3]) for match in found.values())


def _cell(file: str, prefix: str, arrays: Arrays) -> Cell:
    """The kind of cell by its gates; raises StartupError for another one, or sizes that no cell has."""
    for name in (f"{prefix}weight_ih_l0", f"{prefix}weight_hh_l0"):
        if name not in arrays:
            raise _missing(file, name)
        if arrays[name].ndim != 2 or not arrays[name].size:
            raise StartupError(
                f"{file}: tensor '{name}' is {_shape(arrays[name])}, needed is a matrix, with numbers in it"
            )
    rows, hidden = arrays[name].shape
    gates, rest = divmod(rows, hidden)
    if (gates, rest) == (1, 0):
        raise StartupError(
            f"{file}: tensor '{name}' is {_shape(arrays[name])}, so it is a plain RNN: the compiled kernel runs an "
            f"LSTM or a GRU; {_ONNX}"
        )
    if rest or gates not in _CELLS:
        raise StartupError(
            f"{file}: tensor '{name}' is {_shape(arrays[name])}, needed is (4H, H) of an LSTM or (3H, H) of a GRU"
        )
    return _CELLS[gates]


def _find_head(file: str, rest: Arrays, hidden: int) -> tuple[Float32s, Float32s]:
    """The one linear layer: what is there beside the recurrent one."""
    weights = [name for name, array in rest.items() if name.endswith("weight") and array.ndim == 2]
    if not weights:
        raise StartupError(
            f"{file}: holds no linear layer behind the recurrent one: a tensor whose name ends in .weight, (K, "
            f"{hidden}), as nn.Linear has it, is missing; K is the number of outputs"
        )
    fits = [name for name in weights if rest[name].shape[1] == hidden and len(rest[name])]
    name = (fits or weights)[-1]
    bias = name.removesuffix("weight") + "bias"
    if others := [each for each in rest if each not in (name, bias)]:
        raise StartupError(
            f"{file}: tensor '{others[0]}' is neither of the recurrent layer nor of the one linear layer behind it, "
            f"which seems to be '{name}': {_ONNX}"
        )
    if not fits:
        raise StartupError(f"{file}: tensor '{name}' is {_shape(rest[name])}, needed is (K, {hidden}), K >= 1")
    outputs = len(rest[name])
    return _take(file, rest, name, rest[name].shape), _take(file, rest, bias, (outputs,), bias in rest)


def _take(file: str, arrays: Arrays, name: str, shape: tuple[int, ...], needed: bool = True) -> Float32s:
    """A tensor in float32; of a bias that a model does not have, zeros."""
    if name not in arrays:
        if needed or "bias" not in name:
            raise _missing(file, name)
        return np.zeros(shape, np.float32)
    array = arrays[name]
    if array.shape != shape:
        raise StartupError(f"{file}: tensor '{name}' is {_shape(array)}, needed is {shape}")
    if array.dtype.kind != "f":
        raise StartupError(f"{file}: tensor '{name}' holds {array.dtype}: weights must be floating point")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(found).all():
        place = np.argwhere(~np.isfinite(found))[0].tolist()
        raise StartupError(f"{file}: tensor '{name}' at {place} is {array[tuple(place)]:g}: must be finite in float32")
    return found


def _missing(file: str, name: str) -> StartupError:
    return StartupError(
        f"{file}: tensor '{name}' is missing: save the whole state dict, with the names that nn.LSTM or nn.GRU and "
        "nn.Linear give"
    )


def _shape(array: NDArray[Any]) -> str:
    return str(array.shape)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more if names else "none at all"
