"""The probe that finds a model's batch plan: rows in random batches against the same rows alone, bit for bit.

Shapes: R rows of a pool, T steps, F numbers of a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from core.arrays import Float32s, Int64s
from core.engines.binding import RowTensor
from core.engines.onnx.axes import REMEDY
from core.engines.onnx.plan import PLANS, PadPlan
from core.engines.onnx.rows import CallRows, StepsRows
from core.errors import StartupError

SMALL_BATCHES = (*range(1, 36), 47, 63, 64, 65, 100)
LARGE_BATCHES = (127, 128, 129, 200, 255, 256, 257, 500, 511, 512, 1000, 1023, 1024)
ENOUGH = 8  # batches that differ: the next ones say nothing new
MIXED = 1e-3
"""Between a row's results alone and in a batch, relative: more is no rounding, the row has read others."""


class Pool(NamedTuple):
    """Rows as they may be met: samples (R, F), and the states before them."""

    samples: Float32s
    states: tuple[Float32s, ...]


def reach(rows: StepsRows, samples: Float32s) -> Pool:
    """Step R rows of zeros through all but the last of their samples (T, R, F)."""
    states = [np.zeros(state.before.of_rows(samples.shape[1]), np.float32) for state in rows.binding.states]
    for now in samples[:-1]:
        _, states = step(rows, Pool(now, tuple(states)))
    return Pool(samples[-1], tuple(states))


def step(rows: StepsRows, pool: Pool) -> tuple[Float32s, list[Float32s]]:
    """One step of a pool: the outputs (R, K), and the states after."""
    room = rows.room(len(pool.samples))
    room.samples[...] = pool.samples
    for buffer, state in zip(room.states, pool.states, strict=True):
        buffer[...] = state
    return rows.run(len(pool.samples))


def find_plan(alike: Iterable[tuple[PadPlan, CallRows]], pool: Pool, batches: Iterable[int]) -> PadPlan:
    """The first plan under which every row gives the same bits in all batches.

    Args:
        alike: the plans, the fastest first, with a model that runs by each.
        pool: rows to try.
        batches: sizes of the batches.

    Raises:
        StartupError: rows read each other, or the same row gives something else each time.
    """
    sizes = list(batches)
    file = ""
    for plan, rows in alike:
        file = rows.file
        same, apart = compare(rows, pool, sizes)
        if same:
            return plan
        if not apart <= MIXED:
            raise StartupError(
                f"{file}: the outputs of a row change by {apart:.2g} with the other rows of its batch, so streams "
                f"would read each other: take the operator out that looks along the batch axis; {REMEDY}"
            )
    raise StartupError(f"{file}: the same sample gives other outputs each time: take out what is random in the graph")


def plans_of(rows: CallRows) -> Iterator[tuple[PadPlan, CallRows]]:
    """Every plan for a model, made when its turn comes."""
    return ((plan, rows.by(plan)) for plan in PLANS.values())


def compare(rows: CallRows, pool: Pool, batches: Iterable[int]) -> tuple[bool, float]:
    """Return whether rows have the same bits in random batches as alone, and the largest relative difference."""
    random = np.random.default_rng(1)
    tensors = [state.before for state in rows.binding.states]
    alone = _join(tensors, [step(rows, _take(tensors, pool, [row])) for row in range(len(pool.samples))])
    differ, apart = 0, 0.0
    for size in sorted({min(size, rows.plan.most) for size in batches}):
        chosen = random.integers(len(pool.samples), size=size)
        found = _join(tensors, [step(rows, _take(tensors, pool, chosen))])
        if not np.array_equal(found.view(np.int32), alone[chosen].view(np.int32)):
            differ += 1
            with np.errstate(invalid="ignore"):
                apart = max(apart, float(np.max(np.abs(found - alone[chosen]) / (1 + np.abs(alone[chosen])))))
        if differ == ENOUGH:
            break
    return not differ, apart


def _take(tensors: list[RowTensor], pool: Pool, chosen: Int64s | list[int]) -> Pool:
    states = (np.take(state, chosen, tensor.axis) for tensor, state in zip(tensors, pool.states, strict=True))
    return Pool(pool.samples[chosen], tuple(states))


def _join(tensors: list[RowTensor], calls: list[tuple[Float32s, list[Float32s]]]) -> Float32s:
    """Outputs and states of some calls, a line for each row."""
    return np.concatenate([np.hstack([outputs, *_by_row(tensors, states)]) for outputs, states in calls])


def _by_row(tensors: list[RowTensor], states: list[Float32s]) -> Iterator[Float32s]:
    for tensor, state in zip(tensors, states, strict=True):
        yield np.moveaxis(state, tensor.axis, 0).reshape(-1, tensor.size)
