"""Find the scale of a model's numbers by noise; `core.audit.scales` says what it is for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from core.arrays import Float32s
from core.audit.models import StepsModel, WindowsModel
from core.audit.scales import Scales
from core.tasks.check.noise import SampleSource
from core.tasks.declaration import Declaration

_STEPS, _ROWS = 64, 8


def scales_of_steps(task: Declaration, model: StepsModel) -> Scales:
    """The scales of a step task's model."""
    runs = list(np.ascontiguousarray(SampleSource(task).draw(_STEPS, _ROWS).swapaxes(0, 1)))
    found, states = model.advance(runs, None)
    numbers = np.concatenate(found)
    return Scales({name: _scale([numbers[:, at]]) for name, at in model.tensors.items()}, _scale([states]))


def scales_of_windows(task: Declaration, model: WindowsModel) -> Scales:
    """The scales of a window task's model."""
    assert task.window is not None
    windows = list(np.ascontiguousarray(SampleSource(task).draw(task.window.length, _ROWS).swapaxes(0, 1)))
    scored = model.score(windows)
    return Scales({name: _scale(tensors[name] for tensors in scored) for name in scored[0]})


def _scale(arrays: Iterable[Float32s]) -> float:
    """Return the largest finite size among numbers, at most 1; 1 where all are 0, or none is finite."""
    largest = max((float(np.abs(each[np.isfinite(each)]).max(initial=0)) for each in arrays), default=0.0)
    return min(1.0, largest) or 1.0
