"""A trained net -> the files that the compiled kernel reads: weights in natural units, and an example to compare with.

Shapes: T steps, F numbers of a sample, H hidden units, K numbers of the linear layer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.arrays import Float32s, Float64s
from core.errors import RunError
from core.models.evaluation import evaluating
from core.models.packed import WEIGHTS, pack
from core.training.tasks.net import RecurrentNet
from core.training.tasks.statistics import FieldStatistics
from core.whole_file import whole_file

EXAMPLE_STEPS = 200
NamedArrays = dict[str, NDArray[Any]]


def folded(net: RecurrentNet, scale: Float64s, shift: Float64s) -> NamedArrays:
    """The weights of a net whose linear layer gives scale * y + shift in place of y.

    Args:
        net: in any state.
        scale: (K,).
        shift: (K,).
    """
    arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in net.state_dict().items()}
    weight, bias = (arrays[f"head.{part}"].astype(np.float64) for part in ("weight", "bias"))
    arrays["head.weight"] = (weight * scale[:, None]).astype(np.float32)
    arrays["head.bias"] = (bias * scale + shift).astype(np.float32)
    return arrays


def forecaster(net: RecurrentNet, statistics: FieldStatistics, factor: Float64s) -> NamedArrays:
    """The weights of a forecaster in natural units: changes, and natural logarithms of their variances.

    Args:
        factor: of the deviations, for each number: `likelihood.calibration`.
    """
    change = statistics.change
    scale = np.concatenate([change, np.ones_like(change)])
    shift = np.concatenate([np.zeros_like(change), 2 * np.log(change * factor)])
    return folded(net, scale, shift)


def write_weights(
    path: Path, arrays: NamedArrays, statistics: FieldStatistics | None, facts: Mapping[str, Any]
) -> None:
    """Write weights and the statistics of their inputs, and facts beside them, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    content: dict[str, Any] = {WEIGHTS: arrays, **facts}
    if statistics is not None:
        content["input_statistics"] = {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
    _write(path, pack(content))


def write_example(
    path: Path, net: RecurrentNet, arrays: NamedArrays, statistics: FieldStatistics, samples: Float32s, tensor: str
) -> None:
    """Write what torch makes of some samples (T, F), for `caststream task check` to compare with the kernel.

    Args:
        net: one of the same sizes.
        arrays: the weights that were written.
        tensor: the name of the linear layer's numbers in the task.
    """
    given = samples[:EXAMPLE_STEPS]
    write_arrays(path, {"x": given, tensor: outputs_of(net, arrays, statistics.standardised(given))})


def write_arrays(path: Path, arrays: Mapping[str, Float32s]) -> None:
    """Write an example's arrays by name; raises RunError as `write_weights`."""
    memory = BytesIO()
    held: dict[str, Any] = dict(arrays)
    np.savez(memory, **held)
    _write(path, memory.getvalue())


def outputs_of(net: RecurrentNet, arrays: NamedArrays, standardised: Float32s) -> Float32s:
    """The numbers (T, K) of a net with these weights for standardised samples (T, F), by torch on the CPU."""
    own = RecurrentNet(**net.sizes)
    own.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    with evaluating(own):
        found: Float32s = own(torch.from_numpy(standardised[None]))[0][0].numpy()
    return found


def _write(path: Path, raw: bytes) -> None:
    try:
        with whole_file(path) as partial, partial.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error
