"""Everything that goes into a graph has to move what comes out: states and fields.

An exporter that ties h and c leaves one of them unread, which is right from zeros and wrong from then on.
Shapes: R rows, F numbers of a sample, K numbers of all outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s
from core.engines.binding import RowTensor
from core.engines.onnx.probe import Pool, step
from core.engines.onnx.rows import CallRows, StepsRows
from core.errors import StartupError
from core.tasks.declaration import Declaration, Field

POOL_ROWS, POOL_STEPS = 128, 10  # that bring a model into the states that it is in live
STEPS = 4  # within which a change has to reach an output
FEW = 0.02  # of an array
_AT_ONCE = 64  # numbers of a sample that are changed in one batch
_ROWS_EACH, _ROWS_OF_FEW = 4, 16  # the latter where a sample has few numbers: one may stand for a class
_AS_WIDE = 4  # rows from one to the next whose noise is as wide: `noise` has so many scales
_SHOWN = 5
_EXPORT = "(caststream task export-help torch)"


def check_states(rows: CallRows, pool: Pool, following: Float32s) -> None:
    """Refuse a state that is not carried, or moves nothing.

    Args:
        rows: the model.
        pool: rows in states as they are reached.
        following: the samples after it, (T, R, F).

    Raises:
        StartupError: naming the state.
    """
    _, after = step(rows, pool)
    for place, state in enumerate(rows.binding.states):
        name, tensor, found = state.before.name, state.before, after[place]
        by_row = np.moveaxis(found, tensor.axis, 0).reshape(len(pool.samples), -1)
        if np.array_equal(found, pool.states[place]):
            raise StartupError(
                f"{rows.file}: state '{name}' is never carried: output '{state.after}' is what went in; export the "
                f"state after the step {_EXPORT}"
            )
        if (by_row == by_row[0]).all():
            raise StartupError(
                f"{rows.file}: state '{name}' is never carried: output '{state.after}' is the same whatever goes in; "
                f"export the state after the step {_EXPORT}"
            )
        if not _moved(rows, pool, _rolled(pool, place, tensor), following).any():
            raise StartupError(
                f"{rows.file}: state '{name}' moves no output: the exporter has left it out, as it does with states "
                "that are one tensor in its example (h and c both the same zeros); export it with a tensor of its own "
                f"for each state {_EXPORT}, or name the right one in [model] states"
            )


def still_numbers(rows: StepsRows, pool: Pool, following: Float32s) -> list[int]:
    """The numbers of a sample that move no output; arguments as `check_states` has them."""
    return [
        number
        for start in range(0, pool.samples.shape[1], _AT_ONCE)
        for number in _still(rows, pool, following, range(start, min(start + _AT_ONCE, pool.samples.shape[1])))
    ]


def _still(rows: StepsRows, pool: Pool, following: Float32s, numbers: range) -> Iterator[int]:
    """Change some numbers, each in some rows of its own."""
    tensors = [state.before for state in rows.binding.states]
    each = _ROWS_OF_FEW if pool.samples.shape[1] <= _AT_ONCE else _ROWS_EACH
    few = np.tile(np.arange(each), len(numbers))
    states = tuple(np.take(state, few, tensor.axis) for state, tensor in zip(pool.states, tensors, strict=True))
    samples = pool.samples[few]
    changed = samples.copy()
    for place, number in enumerate(numbers):
        own = slice(place * each, (place + 1) * each)
        column = pool.samples[:, number]
        changed[own, number] = np.append(np.roll(column, 1)[: each // 2], np.roll(column, _AS_WIDE)[each // 2 : each])
    same = Pool(samples, states), Pool(changed, states)
    moved = _moved(rows, *same, following[:, few], len(numbers))
    return (number for number, any_row in zip(numbers, moved, strict=True) if not any_row)


def check_fields(file: str, declaration: Declaration, still: list[int]) -> None:
    """Refuse a field none of whose numbers moves an output; raises StartupError."""
    for field, numbers in _by_field(declaration, still):
        if len(numbers) == field.width:
            raise StartupError(
                f"{file}: field '{field.name}' moves no output: the graph does not read it; export the model "
                "anew, or take the field out of the task"
            )


def are_many(declaration: Declaration, still: list[int]) -> bool:
    """True if more of a field is still than the ends of a frame that a window function sets to zero."""
    return any(len(numbers) > FEW * field.width for field, numbers in _by_field(declaration, still))


def _by_field(declaration: Declaration, still: list[int]) -> Iterator[tuple[Field, list[int]]]:
    start = 0
    for field in declaration.fields:
        yield field, [number for number in still if start <= number < start + field.width]
        start += field.width


def unread(declaration: Declaration, still: list[int]) -> list[str]:
    """One line about the numbers that move no output, if there are any: as vibration[3], an overlap's below zero."""
    every = [f"{field.name}[{place - field.overlap}]" for field in declaration.fields for place in range(field.width)]
    names = [every[number] for number in still]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"the model does not read {', '.join(names[:_SHOWN])}{more} of the fields"] if names else []


def _rolled(pool: Pool, place: int, tensor: RowTensor) -> Pool:
    """The same rows, of which each has its neighbour's state."""
    states = list(pool.states)
    states[place] = np.roll(states[place], 1, tensor.axis)
    return Pool(pool.samples, tuple(states))


def _moved(rows: StepsRows, first: Pool, second: Pool, following: Float32s, groups: int = 1) -> NDArray[np.bool_]:
    """Return for each group of rows whether an output of one differs, now or in the steps that follow."""
    moved = np.zeros(groups, bool)
    for samples in (*following[:STEPS], None):
        (outputs, states), (others, other_states) = step(rows, first), step(rows, second)
        moved |= (outputs != others).reshape(groups, -1).any(axis=1)
        if samples is None or moved.all():
            break
        first, second = Pool(samples, tuple(states)), Pool(samples, tuple(other_states))
    return moved
