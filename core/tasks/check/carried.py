"""A carried state is the whole of it: two halves give what one run gives, and everything stays finite.

Shapes: T steps, R rows, F numbers of a sample.
"""

from __future__ import annotations

import numpy as np

from core.arrays import Float32s
from core.engines.bank import ZEROS, StateBank
from core.engines.binding import Binding
from core.errors import StartupError
from core.step_batch import StepBatch

HALF_STEPS, HALF_ROWS = 32, 8
FINITE_STEPS, FINITE_ROWS = 1_000, 4


def check_halves(file: str, whole: StateBank, halves: StateBank, samples: Float32s) -> None:
    """Compare one run over samples (T, R, F) with two that hand the state over.

    Args:
        file: the model's name.
        whole: an empty bank.
        halves: one of the same model, opened anew; what it keeps beside its states differs.
        samples: for R streams.

    Raises:
        StartupError: outputs or states are not the same, bit for bit.
    """
    middle, rows = len(samples) // 2, np.arange(1, samples.shape[1] + 1)
    expected = run(whole, samples, ZEROS * rows, rows)
    first = run(halves, samples[:middle], ZEROS * rows, rows)
    for row, state in zip(rows, halves.read(rows), strict=True):
        halves.write(int(row) + len(rows), state)
    second = run(halves, samples[middle:], rows + len(rows), rows)
    same = np.array_equal(expected.view(np.int32), np.concatenate([first, second]).view(np.int32))
    if not same or not np.array_equal(whole.read(rows).view(np.int32), halves.read(rows).view(np.int32)):
        raise StartupError(
            f"{file}: a run in two halves, with the state carried over, gives something else than one run: the graph "
            "keeps something that is not in its states, or draws random numbers; export all of its state"
        )


def check_finite(file: str, bank: StateBank, binding: Binding, samples: Float32s) -> None:
    """Run samples (T, R, F), noise in range.

    Raises:
        StartupError: an output or a state is not finite at the end of it, or before.
    """
    rows = np.arange(1, samples.shape[1] + 1)
    outputs = run(bank, samples, ZEROS * rows, rows)
    for tensor in binding.outputs:
        bad = ~np.isfinite(outputs[..., binding.columns(tensor.name)]).all(axis=(1, 2))
        if bad.any():
            raise StartupError(
                f"{file}: output '{tensor.name}' is not finite after {int(np.argmax(bad)) + 1} steps of noise in the "
                "fields' ranges: set range or normal of the fields to what the model was trained on, or export it again"
            )
    if not np.isfinite(bank.read(rows)).all():
        raise StartupError(
            f"{file}: a state is not finite after {len(samples):,} steps of noise in the fields' ranges: set range or "
            "normal of the fields to what the model was trained on, or export it again"
        )


def run(bank: StateBank, samples: Float32s, starts: np.ndarray, targets: np.ndarray) -> Float32s:
    """Step R rows through samples (T, R, F); the outputs (T, R, K)."""
    steps, rows, width = samples.shape
    times, runs = np.divmod(np.arange(steps * rows), rows)
    flat = samples.reshape(-1, width)
    batch = StepBatch(flat, runs, times, np.full(rows, steps), starts, targets, np.arange(rows))
    return bank.step(batch).reshape(steps, rows, -1)
