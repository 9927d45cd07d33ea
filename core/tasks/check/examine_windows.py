"""The check of a window task's model.

Shapes: W windows, T samples of a window, F numbers of a sample, K numbers of all outputs of a window.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from core.arrays import Float32s
from core.engines.declared.task_windows import open_task_windows
from core.engines.declared.window_model import outputs_of
from core.engines.declared.window_scoring import WindowScorer
from core.engines.onnx.plan import PLANS, PadPlan
from core.engines.onnx.probe import MIXED
from core.errors import StartupError
from core.tasks.check.ends import check_ends
from core.tasks.check.example import compare_windows
from core.tasks.check.findings import Checked
from core.tasks.check.moves import are_many, check_fields, unread
from core.tasks.check.noise import SampleSource, read_samples
from core.tasks.declaration import Declaration, Window
from core.tasks.fingerprint import fingerprint_of, model_hash

WINDOWS = 16
BATCHES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 31, 33, 64)
TIMED_WINDOWS = (1, 8, 64)
_NO_EXAMPLE = "there is no example, so nothing shows that the graph computes what your framework does"
_UNPROVEN = "there is no example, so nothing shows that the task's fields are in the order of the model's inputs"


def examine_windows(declaration: Declaration, window: Window, model: bytes, data: Path | None) -> Checked:
    """Check a model; arguments and errors as `core.tasks.check.examine.examine` has them."""
    opened = open_task_windows(declaration, model)
    scorer, binding = opened.trial, opened.longest
    outputs_of(declaration, opened)
    noise = SampleSource(declaration)
    source = noise if data is None else SampleSource(declaration, read_samples(data, declaration))
    still = still_numbers(scorer, _draw(noise, window.length))
    check_fields(scorer.file, declaration, still)
    told = unread(declaration, still)
    lengths = sorted({window.first, (window.first + window.length) // 2, window.length})
    if not opened.proven:
        plans = [find_plan(scorer, _draw(source, length)) for length in lengths]
        scorer = scorer.by(max(plans, key=list(PLANS.values()).index))  # what holds for a fast plan holds for slower
    _check_finite(scorer, [window for length in lengths for window in _draw(source, length)])
    check_ends(declaration, lambda sample: scorer.score([np.tile(sample, (window.length, 1))]))
    example = declaration.model.example
    agreed = None if example is None else compare_windows(example, scorer, binding)
    if agreed is None and are_many(declaration, still):
        raise StartupError(f"{scorer.file}: {told[0]}; correct it, or set example in [model]")
    missing = _UNPROVEN if opened.proven else _NO_EXAMPLE
    return Checked(
        fingerprint=fingerprint_of(declaration, model),
        model=model_hash(model),
        plan=scorer.plan.name,
        states=(),
        outputs={tensor.name: tensor.shape for tensor in binding.outputs},
        microseconds={count: _microseconds(scorer, _draw(noise, window.length, count)) for count in TIMED_WINDOWS},
        example=agreed,
        notes=(*told, *([missing] if agreed is None else [])),
    )


def still_numbers(scorer: WindowScorer, windows: list[Float32s]) -> list[int]:
    """The numbers of a sample that move no output."""
    before = lines(scorer, windows)
    return [number for number in range(windows[0].shape[1]) if np.array_equal(before, _moved(scorer, windows, number))]


def _moved(scorer: WindowScorer, windows: list[Float32s], number: int) -> Float32s:
    """Score windows each of which has one number of its neighbour."""
    changed = np.stack(windows)
    changed[:, :, number] = np.roll(changed[:, :, number], 1, axis=0)
    return lines(scorer, list(changed))


def find_plan(scorer: WindowScorer, windows: list[Float32s]) -> PadPlan:
    """The fastest plan under which windows of one length give the same bits in all batches; raises StartupError."""
    for plan in PLANS.values():
        apart = _apart(scorer.by(plan), windows)
        if apart == 0:
            return plan
        if not apart <= MIXED:
            raise StartupError(
                f"{scorer.file}: the outputs of a window change by {apart:.2g} with the other windows of its batch: "
                "take the operator out that looks along the batch axis"
            )
    raise StartupError(f"{scorer.file}: the same window gives other outputs each time: take out what is random")


def _apart(scorer: WindowScorer, windows: list[Float32s]) -> float:
    """Return how far a window's results are apart, alone and in batches, relative; 0 where all bits are the same."""
    random, worst = np.random.default_rng(1), 0.0
    alone = np.concatenate([lines(scorer, [window]) for window in windows])
    for size in BATCHES:
        chosen = random.integers(len(windows), size=size)
        found = lines(scorer, [windows[place] for place in chosen])
        if not np.array_equal(found.view(np.int32), alone[chosen].view(np.int32)):
            with np.errstate(invalid="ignore"):
                apart = np.abs(found - alone[chosen]) / (1 + np.abs(alone[chosen]))
            worst = max(worst, float(np.max(apart)), float(np.finfo(np.float32).tiny))
    return worst


def lines(scorer: WindowScorer, windows: list[Float32s]) -> Float32s:
    """The outputs of windows of one length, (W, K)."""
    return np.stack([np.concatenate([part.reshape(-1) for part in scored]) for scored in scorer.score(windows)])


def _check_finite(scorer: WindowScorer, windows: list[Float32s]) -> None:
    if not all(np.isfinite(part).all() for scored in scorer.score(windows) for part in scored):
        raise StartupError(
            f"{scorer.file}: an output is not finite for noise in the fields' ranges: set range or normal of the "
            "fields to what the model was trained on, or export it again"
        )


def _draw(source: SampleSource, length: int, windows: int = WINDOWS) -> list[Float32s]:
    return list(np.ascontiguousarray(source.draw(length, windows).swapaxes(0, 1)))


def _microseconds(scorer: WindowScorer, windows: list[Float32s]) -> float:
    tries = []
    for _ in range(3):
        started = time.perf_counter()
        scorer.score(windows)
        tries.append(time.perf_counter() - started)
    return round(1e6 * min(tries) / len(windows), 2)
