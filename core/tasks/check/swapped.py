"""States that look swapped: by the graph's own names, or by how numbers go on from one step to the next.

Both tensors of an LSTM have the same shape, and both move every output. But each number of c goes on in a straight
line: after the step it is f * c + i * g, where f, i and g do not depend on it. Where it goes on like that in another
output than the one that the task names, and not in that one, the two are swapped. Only an example proves more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from core.arrays import Float32s
from core.engines.onnx.names import pairs
from core.engines.onnx.probe import Pool, step
from core.engines.onnx.rows import CallRows

_ROWS = 64
_PUSH = 0.5  # added to a number, once and twice
_MOVED = 0.05  # of the push that has to arrive
_STRAIGHT = 2e-3  # relative
_MOST, _FEW = 0.9, 0.3  # of the numbers that arrive
_ENOUGH = 0.15  # of all: closed gates let nothing through


def named_otherwise(states: Mapping[str, str], outputs: Iterable[str]) -> str | None:
    """The reason to doubt how states are paired that their names give; None: there is none."""
    named = pairs(states, outputs)
    for before, after in states.items():
        fits = named.get(before, after)
        if fits != after and fits in states.values():
            return f"state '{before}' becomes output '{after}', but by its name '{fits}' is its next value"
    return None


def goes_on_elsewhere(rows: CallRows, pool: Pool) -> str | None:
    """The reason to doubt how states are paired that a model's numbers give; None: there is none."""
    states = rows.binding.states
    for place, state in enumerate(states):
        straight = _straight(rows, pool, place)
        for other, share in straight.items():
            if share >= _MOST and straight[place] <= _FEW:
                return (
                    f"state '{state.before.name}' becomes output '{state.after}', but its numbers go on in output "
                    f"'{states[other].after}'"
                )
    return None


def _straight(rows: CallRows, pool: Pool, place: int) -> dict[int, float]:
    """Return for each state of a state's shape the share of its numbers that go on there in a straight line."""
    tensors = [state.before for state in rows.binding.states]
    count = min(_ROWS, len(pool.samples))
    few = tuple(np.take(state, range(count), tensor.axis) for state, tensor in zip(pool.states, tensors, strict=True))
    number = np.random.default_rng(place).integers(tensors[place].size, size=count)
    found: list[list[Float32s]] = []
    for push in (0.0, _PUSH, 2 * _PUSH):
        pushed = np.moveaxis(few[place], tensors[place].axis, 0).reshape(count, -1).copy()
        pushed[np.arange(count), number] += np.float32(push)
        shaped = np.moveaxis(pushed.reshape(count, *tensors[place].shape), 0, tensors[place].axis)
        _, after = step(rows, Pool(pool.samples[:count], (*few[:place], shaped, *few[place + 1 :])))
        found.append(
            [np.moveaxis(each, at.axis, 0).reshape(count, -1) for each, at in zip(after, tensors, strict=True)]
        )
    alike = [other for other, tensor in enumerate(tensors) if tensor.shape == tensors[place].shape]
    return {other: _share(*(each[other][np.arange(count), number] for each in found)) for other in alike}


def _share(still: Float32s, once: Float32s, twice: Float32s) -> float:
    """Return the share of straight lines among the numbers that arrive; 0 where next to none does."""
    first, second = once - still, twice - once
    moved = np.abs(first) > _MOVED * _PUSH
    straight = moved & (np.abs(second - first) <= _STRAIGHT * np.abs(first))
    return float(straight.sum() / moved.sum()) if moved.mean() > _ENOUGH else 0.0
