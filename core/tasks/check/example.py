"""The example: inputs and outputs of some steps from the user's own framework, which the graph must agree with.

An .npz file: the samples under the name of the graph's input, (T, F), and outputs under the names of its tensors,
(T, K); axes of length 1 may stand between. States begin at zeros, or as the file has them under their inputs' names.
Of a window task: (W, T, F) and (W, K), for W windows of the task's length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.arrays import Float32s, Floats
from core.engines.bank import StateBank
from core.engines.binding import Binding
from core.engines.declared.window_scoring import WindowScorer
from core.errors import DataError, StartupError
from core.step_batch import StepBatch

TOLERANCE = 1e-4  # relative to the largest value of the tensor


def compare_example(path: Path, file: str, bank: StateBank, binding: Binding) -> tuple[int, float]:
    """Run an example.

    Args:
        path: the example.
        file: name of the model, for messages.
        bank: an empty one; its row 1 is used.
        binding: what its names are.

    Returns:
        Steps, and the largest difference, relative.

    Raises:
        DataError: the file cannot be used.
        StartupError: the model does not agree.
    """
    arrays = _read(path)
    samples = _array(path, arrays, binding.samples.name, binding.samples.size)
    bank.write(1, _state(path, arrays, binding))
    return len(samples), _worst(path, file, arrays, binding, run_row(bank, samples))


def compare_windows(path: Path, scorer: WindowScorer, binding: Binding) -> tuple[int, float]:
    """Score an example's windows; the result and the errors as `compare_example` has them."""
    arrays = _read(path)
    windows = _array(path, arrays, binding.samples.name, binding.samples.size)
    scored = scorer.score(list(windows.reshape(len(windows), *binding.samples.shape)))
    found = np.stack([np.concatenate([part.reshape(-1) for part in each]) for each in scored])
    return len(windows), _worst(path, scorer.file, arrays, binding, found)


def run_row(bank: StateBank, samples: Float32s, start: int = 1) -> Float32s:
    """Step row 1 through samples (T, F) from the state of a row; the outputs (T, K)."""
    steps = len(samples)
    zeros, one = np.zeros(steps, np.int64), np.ones(1, np.int64)
    batch = StepBatch(samples, zeros, np.arange(steps), steps * one, start * one, one, 0 * one)
    return bank.step(batch)


def _worst(path: Path, file: str, arrays: Mapping[str, Any], binding: Binding, found: Float32s) -> float:
    """Return the largest difference of all outputs that the example has, relative."""
    given = {tensor.name: tensor for tensor in binding.outputs if tensor.name in arrays}
    if not given:
        names = ", ".join(tensor.name for tensor in binding.outputs)
        raise DataError(path, f"has no array of an output to compare; needed is one of: {names}")
    worst = 0.0
    for name, tensor in given.items():
        wanted = _array(path, arrays, name, tensor.size)
        if len(wanted) != len(found):
            raise DataError(path, f"has {len(wanted)} steps, the samples have {len(found)}", name)
        worst = max(worst, _compare(path, file, name, found[:, binding.columns(name)], wanted))
    return worst


def _compare(path: Path, file: str, name: str, found: Floats, wanted: Floats) -> float:
    """Return the largest difference, relative; raises StartupError."""
    scale = float(np.max(np.abs(wanted))) or 1.0
    apart = np.abs(found.astype(np.float64) - wanted).max(axis=1) / scale
    if (worst := float(apart.max())) <= TOLERANCE:
        return worst
    first = int(np.argmax(~(apart <= TOLERANCE)))
    how = "swapped or badly paired states are right at first and wrong later" if first else "look at the input's order"
    raise StartupError(
        f"{file}: does not agree with the example {path.name}: output '{name}' is apart by {worst:.2g} of its largest "
        f"value, first at step {first} (at most {TOLERANCE:g} is accepted): {how}; correct [model] or export again"
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(path, "is no .npz file: write it by numpy.savez")
            return dict(file.items())
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types
        raise DataError(path, f"cannot be read as an .npz file without pickled objects: {error}") from error


def _array(path: Path, arrays: Mapping[str, Any], name: str, width: int) -> Float32s:
    """An array of the file as (T, width)."""
    if name not in arrays:
        raise DataError(path, f"there is no such array; there are: {', '.join(arrays) or 'none'}", name)
    array = arrays[name]
    if array.dtype.kind not in "fiub" or array.ndim == 0 or not np.isfinite(array).all():
        raise DataError(path, "must hold finite numbers, one line per step", name)
    flat: Float32s = np.ascontiguousarray(array.reshape(len(array), -1), np.float32)
    if flat.shape[1] != width or not len(flat):
        raise DataError(path, f"is {array.shape}, needed is (steps, {width})", name)
    return flat


def _state(path: Path, arrays: Mapping[str, Any], binding: Binding) -> Float32s:
    """The state to begin with."""
    parts = []
    for tensor in (state.before for state in binding.states):
        array = np.asarray(arrays.get(tensor.name, np.zeros(tensor.shape)))
        if array.size != math.prod(tensor.shape):
            raise DataError(path, f"is {array.shape}, a state of one stream is {tensor.of_rows(1)}", tensor.name)
        parts.append(array.astype(np.float32).reshape(-1))
    return np.concatenate([np.empty(0, np.float32), *parts])
